/** The program behind `leaveJournal`. */
import { realWorld } from "../../src/base/world.ts";
import type { CallRow } from "../../src/core/call.ts";
import type { Journal } from "../../src/ports.ts";
import { aHandshake, aRow, aSession } from "./builders.ts";
import { openLike, planIn, type Contents } from "./full-journal.ts";

/** So many calls share a commit. */
const BATCH = 2_000;
const HOUR_MS = 3_600_000;
const SESSIONS = 20;

interface Given {
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  readonly contents: Contents;
}

const world = realWorld();

const requestOf = (n: number): string =>
  `{"jsonrpc":"2.0","id":${String(n)},"method":"tools/call","params":{"name":"append","arguments":{"nonce":"left-${String(n)}"}}}`;

/** Row by row, in batches. */
async function write(count: number, one: (n: number) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < count; from += BATCH) {
    const size = Math.min(BATCH, count - from);
    await Promise.all(Array.from({ length: size }, (_, n) => one(from + n)));
  }
}

async function end(journal: Journal, id: string, n: number, at: number): Promise<void> {
  const reply = `{"jsonrpc":"2.0","id":${String(n)},"result":{"content":[{"type":"text","text":"append left-${String(n)}"}]}}`;
  const settle = { kind: "settle", id, attempt: 1, state: "done", executed: "yes" } as const;
  await journal.apply({ ...settle, reply, at }, true);
  await journal.apply({ kind: "deliver", id, at }, false);
}

async function fill({ folder, env, contents }: Given): Promise<void> {
  const plan = planIn(folder, env);
  const identity = plan.upstreams.get(contents.server)?.identity;
  if (identity === undefined) throw new Error(`no server ${contents.server}`);
  const { upstream, credentials } = identity;
  const { own } = await openLike(plan);
  const at = world.now();
  await own.recover(at);
  const sessionOf = (n: number) => `s_left${String(n % SESSIONS)}`;
  for (let n = 0; n < SESSIONS; n++) {
    await own.saveSession(
      aSession({
        id: sessionOf(n),
        keyDigest: `key-${String(n)}`,
        transport: "http",
        upstream,
        credentials,
        handshake: JSON.stringify(aHandshake()),
        createdAt: at,
        lastSeenAt: at,
        timeoutMs: HOUR_MS,
      }),
    );
  }
  let made = 0;
  const row = (state: "queued" | "sent"): CallRow =>
    aRow({
      id: world.newId("c"),
      sessionId: sessionOf(made),
      upstream,
      credentials,
      tool: "append",
      schema: undefined,
      fingerprint: `print-${String(made)}`,
      request: requestOf(made++),
      acceptedAt: at,
      deadlineAt: at + HOUR_MS,
      state,
      ...(state === "queued" ? { acknowledgedAt: at } : { sentAt: at }),
    });
  await write(contents.ended, async (n) => {
    const ended = row("sent");
    await own.admit(ended);
    await end(own, ended.id, n, at);
  });
  await write(contents.queued, () => own.admit(row("queued")));
  await write(contents.sent, () => own.admit(row("sent")));
}

await fill(JSON.parse(process.argv[2] ?? "") as Given);
process.kill(process.pid, "SIGKILL");
