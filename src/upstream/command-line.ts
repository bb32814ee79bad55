/** A command line for people: quoted where needed, on one line, secrets masked. */
import { isSecretName, maskText, maskUserInfo } from "./environment.ts";

const OPTION = /^--?([A-Za-z][\w.-]*)(?:=(.*))?$/s;
const SHOWN_CHARS_MAX = 400;

/** `maskValues`: what must not be shown wherever it stands, longest first. */
export function shownCommand(
  command: string,
  args: readonly string[],
  maskValues: readonly string[],
): string {
  const words = [command];
  let isSecretNext = false;
  for (const arg of args) {
    const option = OPTION.exec(arg);
    const name = option?.[1] ?? "";
    if (isSecretNext && option === null) words.push("***");
    else if (option?.[2] !== undefined && isSecretName(name)) words.push(`--${name}=***`);
    else words.push(maskUserInfo(maskText(arg, maskValues)));
    isSecretNext = option !== null && option[2] === undefined && isSecretName(name);
  }
  const line = words.map(quoted).join(" ");
  return line.length > SHOWN_CHARS_MAX ? `${line.slice(0, SHOWN_CHARS_MAX)}…` : line;
}

function quoted(word: string): string {
  if (word !== "" && !/[\s"'\\$`|&;<>()]/.test(word)) return word;
  return JSON.stringify(word);
}
