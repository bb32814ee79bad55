/** `holdfast token`: makes, lists and revokes the bearer tokens of `holdfast serve`. */
import { unreachable } from "../../base/assert.ts";
import { ConfigError } from "../../base/errors.ts";
import { ageText } from "../../observe/text.ts";
import type { Paint } from "../../observe/text.ts";
import { createToken, listTokens, revokeToken } from "../../store/tokens/registry.ts";
import type { TokenWish } from "../../store/tokens/registry.ts";
import type { Token, TokenState } from "../../store/tokens/token.ts";
import { stateOf } from "../../store/tokens/token.ts";
import { loadConfig } from "../config.ts";
import { ensureFolder } from "../folders.ts";
import { didYouMean } from "../nearest.ts";
import { DAY } from "../option-kinds.ts";
import type { Folders } from "../options.ts";
import { formatDuration, readDuration } from "../values.ts";
import type { Outside } from "./screen.ts";
import { EXIT, paintFor } from "./screen.ts";

export type TokenRequest =
  | { readonly verb: "create"; readonly wish: TokenWish }
  | { readonly verb: "list" }
  | { readonly verb: "revoke"; readonly which: string };

const NAME_MAX_CHARS = 64;
const UPSTREAMS_MAX = 100;
const EXPIRES_MIN_MS = 1_000;
const EXPIRES_MAX_MS = 3_650 * DAY;

/** What the flags of `create` say. Throws `ConfigError`. */
export function readWish(flags: {
  readonly name: string;
  readonly upstream?: string;
  readonly expires?: string;
}): TokenWish {
  const wrong = (flag: string, value: string, expected: string) =>
    new ConfigError(`--${flag}: ${JSON.stringify(value)} is not right; expected ${expected}`);
  const { name, upstream, expires } = flags;
  if (!/^[^\s\p{C}](?:[^\p{C}]*[^\s\p{C}])?$/u.test(name) || name.length > NAME_MAX_CHARS) {
    throw wrong("name", name, `1 to ${String(NAME_MAX_CHARS)} visible characters`);
  }
  if (/^(t|hft)_/.test(name)) throw wrong("name", name, "a name that does not look like an id");
  const upstreams = upstream?.split(",").map((part) => part.trim());
  if (upstreams?.includes("") === true || (upstreams?.length ?? 0) > UPSTREAMS_MAX) {
    throw wrong("upstream", upstream ?? "", 'names of servers such as "github" or "github,docs"');
  }
  const lifetime = expires === undefined ? undefined : readLifetime(expires);
  if (expires !== undefined && lifetime === undefined) {
    throw wrong(
      "expires",
      expires,
      `a duration such as "30d", from ${formatDuration(EXPIRES_MIN_MS)} to ` +
        formatDuration(EXPIRES_MAX_MS),
    );
  }
  return {
    name,
    upstreams: upstreams === undefined ? "all" : [...new Set(upstreams)],
    expiresInMs: lifetime?.value,
  };
}

const readLifetime = readDuration(EXPIRES_MIN_MS, EXPIRES_MAX_MS);

/** Rejects with `RefusedError` where it cannot be done. `asked`: the configuration file, if one is named. */
export async function steerTokens(
  request: TokenRequest,
  isJson: boolean,
  folders: Folders,
  asked: string | undefined,
  outside: Outside,
): Promise<number> {
  const { world } = outside;
  const say = (object: unknown, text: string) => {
    outside.out(isJson ? `${JSON.stringify(object)}\n` : text);
    return EXIT.ok;
  };
  switch (request.verb) {
    case "create": {
      ensureFolder(folders.state, outside.around);
      const { token, text } = await createToken(world, folders.state, request.wish);
      for (const note of doubtsAbout(token, asked, outside)) outside.error(`holdfast: ${note}\n`);
      if (!isJson) outside.error(introduction(token));
      return say({ token: text, ...shownOf(token, "valid") }, `${text}\n`);
    }
    case "list": {
      const now = world.now();
      const tokens = listTokens(folders.state);
      const paint = await paintFor(outside);
      return say(
        { tokens: tokens.map((token) => shownOf(token, stateOf(token, now))) },
        tokens.length === 0 ? NO_TOKENS : await tableOf(tokens, now, paint),
      );
    }
    case "revoke": {
      ensureFolder(folders.state, outside.around);
      const token = await revokeToken(world, folders.state, request.which);
      return say(
        shownOf(token, "revoked"),
        `Revoked the token "${token.name}" (${token.id}); it is refused from now on.\n`,
      );
    }
    default:
      return unreachable(request);
  }
}

const NO_TOKENS = "No tokens. To make one: holdfast token create --name NAME\n";

const serversOf = ({ upstreams }: Token) => (upstreams === "all" ? "all" : upstreams.join(", "));
const instant = (at: number) => new Date(at).toISOString();

function introduction(token: Token): string {
  const { id, name, upstreams, expiresAt } = token;
  const until = expiresAt === undefined ? "does not expire" : `expires at ${instant(expiresAt)}`;
  const servers = upstreams === "all" ? "all servers" : upstreams.join(", ");
  return (
    `Token "${name}" (${id}) for ${servers}; ${until}. It is shown this once and works at once, as\n` +
    "the header  Authorization: Bearer <token>\n"
  );
}

/** Everything but the hash. */
function shownOf(token: Token, state: TokenState) {
  const { id, name, upstreams, createdAt, expiresAt, revokedAt, lastUsedAt } = token;
  return { id, name, upstreams, state, createdAt, expiresAt, revokedAt, lastUsedAt };
}

/** A server's name that is misspelt would show only when its client gets a 403. */
function doubtsAbout(token: Token, asked: string | undefined, outside: Outside): string[] {
  if (token.upstreams === "all") return [];
  try {
    const file = loadConfig(asked, outside.around);
    if (file === undefined) return [];
    const known = [...file.servers.keys()];
    return token.upstreams
      .filter((name) => !file.servers.has(name))
      .map((name) => `${file.path} has no server "${name}" yet${didYouMean(name, known)}`);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [`the names of the servers could not be checked: ${error.message}`];
  }
}

async function tableOf(tokens: readonly Token[], now: number, paint: Paint): Promise<string> {
  const { default: Table } = await import("cli-table3");
  const table = new Table({
    head: ["token", "name", "servers", "state", "made", "last used", "expires"],
    style: { head: [], border: [] },
    wordWrap: true,
  });
  const ago = (at: number | undefined) => (at === undefined ? "never" : `${ageText(now - at)} ago`);
  for (const token of tokens) {
    const state = stateOf(token, now);
    table.push([
      token.id,
      token.name,
      serversOf(token),
      state === "valid" ? paint.green(state) : paint.yellow(state),
      ago(token.createdAt),
      ago(token.lastUsedAt),
      token.expiresAt === undefined ? "never" : instant(token.expiresAt),
    ]);
  }
  return `${table.toString()}\n`;
}
