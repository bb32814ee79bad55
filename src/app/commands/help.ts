/** `--help`: the forms, examples, and every option of the table. */
import type { Option } from "../option-kinds.ts";
import { envName } from "../option-kinds.ts";
import { OPTION_GROUPS } from "../option-table.ts";
import { optionOf } from "../resolve.ts";

const PLACEHOLDERS: Readonly<Record<Option<unknown>["type"], string>> = {
  duration: "<duration>",
  bytes: "<size>",
  integer: "<count>",
  boolean: "",
  choice: "<word>",
  text: "<text>",
  path: "<path>",
  headers: '<"K: V">',
  address: "<host:port>",
  list: "<a,b>",
};

export function flagUsage(option: Option<unknown>): string {
  if (option.type === "boolean") {
    return option.default === "true" ? `--no-${option.flag}` : `--${option.flag}`;
  }
  const value =
    option.type === "choice" ? `<${option.choices.join("|")}>` : PLACEHOLDERS[option.type];
  return `--${option.flag} ${value}`;
}

export function defaultText(option: Option<unknown>): string {
  if (typeof option.default === "string") return option.default;
  return `${option.default.stdio} for a command, ${option.default.remote} for a URL`;
}

const USAGE = `holdfast stands between MCP clients and an MCP server, and makes calls survive:
the server may crash, restart, hang or be away for a while; so may this proxy.

Usage
  holdfast [options] -- command args…     wrap a server that speaks over stdio
  holdfast [options] https://host/mcp     wrap a server that speaks over HTTP
  holdfast run NAME [options]             wrap an entry of holdfast.json
  holdfast serve [options]                serve all of holdfast.json over HTTP, SSE and WebSocket
  holdfast status [--json] [--watch]      what runs, what waits, what is wrong
  holdfast calls list|show|retry|cancel|settle|export
  holdfast token create|list|revoke       who may connect to holdfast serve
  holdfast sessions list|end              clients, also those that may come back
  holdfast events --follow [--json]       what happens, line by line, until Ctrl-C
  holdfast export [--to FILE]             sessions and calls as JSON Lines, to move or to read them
  holdfast import FILE | -                into a new journal of this machine; what lived waits for you
  holdfast restart NAME                   connect anew to a server; its calls wait meanwhile
  holdfast backup [--to FILE|FOLDER]      a snapshot of every journal, also while proxies run
  holdfast snapshots [FOLDER]             what snapshots there are
  holdfast restore FILE [--into FOLDER]   put one back; what may have run since waits for you
  holdfast doctor [-- command… | URL | NAME]
  holdfast verify [--repair] [--json]     whether all journals are sound; mends what is safe

Examples
  holdfast -- npx -y @modelcontextprotocol/server-github
  holdfast --hold 2m --defer none -- python -m my_server
  holdfast --header "Authorization: Bearer $TOKEN" https://example.com/mcp
  holdfast calls list --state queued,dead
  holdfast calls settle c_01… --note "the issue was created"
  holdfast token create --name laptop --upstream github,docs --expires 30d

In a client's configuration
  {"mcpServers": {"github": {"command": "npx",
    "args": ["-y", "mcp-holdfast", "--", "npx", "-y", "@modelcontextprotocol/server-github"]}}}

Exit codes: 0 healthy or done, 1 degraded or failed, 2 wrong usage or configuration.
Every option is also a variable (--hold is HOLDFAST_HOLD) and, with few exceptions, a key in the
configuration file. A flag wins over a variable, and that over the file. See docs/OPTIONS.md.
`;

const LEFT = 34;
const WIDTH = 100;

function wrapped(text: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length + 1 > WIDTH - LEFT) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.join(`\n${" ".repeat(LEFT)}`);
}

export function helpText(): string {
  const groups = OPTION_GROUPS.map(([title, keys]) => {
    const lines = keys.map((key) => {
      const option = optionOf(key);
      const left = `  ${flagUsage(option)}`;
      const gap = left.length + 2 > LEFT ? `\n${" ".repeat(LEFT)}` : " ".repeat(LEFT - left.length);
      const initial = defaultText(option);
      const tail = option.type === "boolean" || initial === "none" ? "" : ` [${initial}]`;
      return `${left}${gap}${wrapped(option.text + tail)}`;
    });
    return `${title}\n${lines.join("\n")}\n`;
  });
  return `${USAGE}\n${groups.join("\n")}\n  -h, --help    -V, --version\n`;
}

const PLACES = {
  server: "in a server's entry or at the top",
  global: "at the top",
} as const;

/** For `docs/OPTIONS.md`. */
export function optionsDocument(): string {
  const groups = OPTION_GROUPS.map(([title, keys]) => {
    const entries = keys.map((key) => {
      const option = optionOf(key);
      const inFile =
        option.scope === "start" ? "" : `; file: \`${option.config}\`, ${PLACES[option.scope]}`;
      return [
        `### \`${flagUsage(option)}\``,
        option.text,
        `Default: ${defaultText(option)}. Expected: ${option.expected}.`,
        `Variable: \`${envName(option)}\`${inFile}.`,
      ].join("\n\n");
    });
    return `## ${title}\n\n${entries.join("\n\n")}\n`;
  });
  return `${DOCUMENT_HEAD}\n${groups.join("\n")}\n${DOCUMENT_TAIL}`;
}

const DOCUMENT_HEAD = `# Options

Made from the options table (\`src/app/option-table.ts\`) by \`node scripts/docs.mjs\`; edit that instead.

A flag wins over its variable, that over the server's entry in the configuration file, that over the
file's top level, and that over the default. A wrong value stops the start and names its place. Durations
are written like \`45s\`, \`2m\`, \`1h30m\`; sizes like \`4MiB\`. Of two related bounds (calls of a session, of
a server, of the process) the one that nobody set follows the one that somebody did.
`;

const DOCUMENT_TAIL = `## In the configuration file only

The file has the \`mcpServers\` (or \`servers\`) shape of MCP clients; comments are allowed. It is looked for
at \`--config\`, \`HOLDFAST_CONFIG\`, \`./holdfast.json\`, and \`holdfast/holdfast.json\` in the user's
configuration folder. \`\${VAR}\`, \`\${VAR:-default}\` and \`\${env:VAR}\` are expanded in \`command\`, \`args\`,
\`env\`, \`cwd\`, \`url\` and \`headers\`; a variable that is not set is an error; \`$\${\` stands for \`\${\`.
Wrapping a command or URL reads no file unless one is named.

| Key below an entry's \`holdfast\` | Meaning |
|---|---|
| \`tools.NAME.safety\` | \`read\`, \`idempotent\` or \`unsafe\`, whatever the server says of this tool. |
| \`tools.NAME.hold\` | How long a call of this tool waits. |
| \`tools.NAME.defer\` | Whether it may stay queued past its hold. |
| \`clients.NAME.hold\` (also at the top) | How long calls of the client with this name wait. |
`;
