/** What is wrapped, for people: its name, its command line or URL with secrets masked. */
import { ConfigError } from "../base/errors.ts";
import type { Target } from "./options.ts";

const MASK = "***";
/** Shorter values (`true`, `8080`, `dev`) would blank out ordinary words. */
const SECRET_MIN_LENGTH = 6;
const SECRET_NAME = /KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE/i;
const RUNNERS =
  /^(npx|bunx|uvx|pipx|npm|pnpm|yarn|bun|deno|uv|node|tsx|python[\d.]*|ruby|php|java)(\.cmd|\.exe)?$/i;
const RUNNER_WORDS = new Set(["exec", "dlx", "run", "x", "tool", "-m", "--"]);
const DULL = /^(index|main|server|cli|app|dist|build|src|lib|bin|mcp|\.|)$/i;

const baseName = (path: string) => path.replaceAll("\\", "/").split("/").pop() ?? path;

/** "@modelcontextprotocol/server-github@1.2" → "github". */
function plainName(word: string): string {
  const bare = baseName(word)
    .replace(/(?<=.)@[^@]*$/, "")
    .replace(/:[^:]*$/, "")
    .replace(/\.(m?[jt]s|cjs|py|rb|php|jar|exe|cmd|sh)$/i, "");
  const short = bare
    .replace(/^(mcp[-_]server[-_]|server[-_]|mcp[-_])/i, "")
    .replace(/([-_]mcp[-_]server|[-_]server|[-_]mcp)$/i, "");
  return (short === "" ? bare : short).replace(/[^\w.-]/g, "-");
}

/** "weather" for "/home/u/weather/dist/index.js". */
function nameOfPath(word: string): string {
  const names = word.replaceAll("\\", "/").split("/").map(plainName);
  return names.findLast((name) => !DULL.test(name)) ?? names.at(-1) ?? word;
}

/** A short name for messages: "github" for `npx -y @modelcontextprotocol/server-github`. */
export function nameOf(target: Target): string {
  if (target.kind !== "stdio") return new URL(target.url).host;
  const command = baseName(target.command);
  if (/^(docker|podman)$/i.test(command)) {
    return nameOfPath(
      target.args.findLast((word) => word.includes("/")) ?? target.args.at(-1) ?? command,
    );
  }
  if (!RUNNERS.test(command)) return nameOfPath(target.command);
  const at = target.args.findIndex((arg) => !arg.startsWith("-") && !RUNNER_WORDS.has(arg));
  const word = target.args[at];
  const isProgramText = /^(-e|-c|-p|--eval|--print)$/.test(target.args[at - 1] ?? "");
  return word === undefined || isProgramText ? plainName(command) : nameOfPath(word);
}

/** The inherited environment for a child: without our own variables. */
export function inheritedEnv(
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !/^HOLDFAST_/i.test(name)) kept[name] = value;
  }
  return kept;
}

/** How a URL may be spoken to. */
export type UrlKind = Exclude<Target["kind"], "stdio">;

const SCHEMES = ["http:", "https:", "ws:", "wss:"];

/** Reads an address. Throws `ConfigError` unless it is `http:`, `https:`, `ws:` or `wss:`. */
export function readUrl(text: string, origin: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new ConfigError(`${origin}: "${text}" is not a URL; expected like https://host/mcp`);
  }
  if (!SCHEMES.includes(url.protocol)) {
    throw new ConfigError(
      `${origin}: "${text}" is not right; expected an http:, https:, ws: or wss: URL`,
    );
  }
  return text;
}

/**
 * The transport for `url`: the one that was asked for, else the one that its scheme stands for.
 * Throws `ConfigError`, which begins with `origin`, if the two don't go together.
 */
export function kindOf(url: string, asked: UrlKind | undefined, origin: string): UrlKind {
  const isSocket = new URL(url).protocol.startsWith("ws");
  const kind = asked ?? (isSocket ? "ws" : "http");
  if ((kind === "ws") === isSocket) return kind;
  const wanted = isSocket ? "an http: or https: URL" : "a ws: or wss: URL";
  throw new ConfigError(`${origin} "${kind}" wants ${wanted}`);
}

const secretHeader = (name: string) =>
  !/^(accept|content-type|user-agent|mcp-.*|x-request-id)$/i.test(name);

/** The secret values of a target, longest first, to be masked wherever its output is shown. */
export function secretsOf(target: Target): string[] {
  const found = new Set<string>();
  const add = (value: string) => {
    if (value.length >= SECRET_MIN_LENGTH) found.add(value);
  };
  if (target.kind !== "stdio") {
    for (const [name, value] of Object.entries(target.headers)) {
      if (!secretHeader(name)) continue;
      add(value);
      add(value.replace(/^\w+\s+/, ""));
    }
    secretsInUrl(target.url).forEach(add);
  } else {
    for (const [name, value] of Object.entries(target.env)) {
      if (SECRET_NAME.test(name) && !/ASKPASS|_SOCK$/i.test(name)) add(value);
      else if (/URL|DSN|URI/i.test(name)) secretsInUrl(value).forEach(add);
    }
    secretsInArguments(target.args).forEach(add);
  }
  return [...found].sort((a, b) => b.length - a.length);
}

function secretsInUrl(text: string): string[] {
  if (!URL.canParse(text)) return [];
  const url = new URL(text);
  const parameters = [...url.searchParams].filter(([name]) => SECRET_NAME.test(name));
  return [url.password, decodeURIComponent(url.password), ...parameters.map(([, value]) => value)];
}

/** `--token abc`, `--api-key=abc`, and passwords in URLs. */
function secretsInArguments(args: readonly string[]): string[] {
  const found: string[] = [];
  args.forEach((word, i) => {
    found.push(...secretsInUrl(word));
    const [, name, value] = /^-{1,2}([\w-]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined || !SECRET_NAME.test(name)) return;
    const secret = value ?? args[i + 1];
    if (secret !== undefined && !secret.startsWith("-")) found.push(secret);
  });
  return found;
}

export function mask(text: string, secrets: readonly string[]): string {
  return secrets.reduce((masked, secret) => masked.replaceAll(secret, MASK), text);
}

const quoted = (word: string) => (/^[\w@%+=:,./\\-]+$/.test(word) ? word : JSON.stringify(word));

/** The command line or URL, secrets masked. */
export function targetText(target: Target, secrets: readonly string[]): string {
  const text =
    target.kind !== "stdio"
      ? target.url.replace(/\/\/[^/@]*@/, `//${MASK}@`)
      : [target.command, ...target.args].map(quoted).join(" ");
  return mask(text, secrets);
}
