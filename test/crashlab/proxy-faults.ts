/**
 * The disk fails under the real proxy: at the n-th write or sync, once or from then on. Whatever happens,
 * each call has one answer, runs as often as its answer says, and the proxy goes on.
 */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errorText } from "../../src/base/errors.ts";
import { preloaded } from "./native.ts";
import { handshake, startProxy } from "./proxy-run.ts";

export interface ProxyFaultFigures {
  /** Runs under a failing disk. */
  readonly points: number;
  readonly findings: readonly string[];
}

const FAULTS = ["EIO/N/1", "EIO/N/1000000", "ENOSPC/N/1", "ENOSPC/N/1000000"] as const;
const KINDS = ["write", "sync"] as const;
const TOOLS = ["append", "set_value", "append", "note"] as const;
const CALLS = 8;

/** `place`: an empty folder. `at`: the calls to the disk that fail. */
export async function runProxyFaults(
  library: string,
  place: string,
  at: readonly number[],
): Promise<ProxyFaultFigures> {
  const findings: string[] = [];
  let points = 0;
  for (const kind of KINDS) {
    for (const fault of FAULTS) {
      for (const number of at) {
        const fail = `${kind}/${fault.replace("N", String(number))}`;
        const own = join(place, String(points++));
        mkdirSync(join(own, "disk"), { recursive: true });
        const found = await tryFault(library, own, fail).catch((error: unknown) => [
          errorText(error),
        ]);
        findings.push(...found.map((what) => `${fail}: ${what}`));
      }
    }
  }
  return { points, findings };
}

interface Answer {
  readonly result?: {
    readonly isError?: boolean;
    readonly _meta?: { readonly "holdfast/call"?: { readonly executed?: string } };
  };
  readonly error?: { readonly data?: { readonly executed?: string } };
}

async function tryFault(library: string, place: string, fail: string): Promise<string[]> {
  const folder = join(place, "disk");
  const proxy = startProxy(place, preloaded(library, { folder, fail }));
  const findings: string[] = [];
  const answers = new Map<string, Answer>();
  try {
    await handshake(proxy);
    for (let i = 0; i < CALLS; i++) {
      const call = { tool: TOOLS[i % TOOLS.length] ?? "append", nonce: `f${i}` };
      answers.set(call.nonce, (await proxy.call(call)) as Answer);
    }
  } finally {
    await proxy.end();
  }
  const runs = runsIn(place);
  for (const [nonce, { result, error }] of answers) {
    const word = result?._meta?.["holdfast/call"]?.executed ?? error?.data?.executed;
    const count = runs.filter((each) => each === nonce).length;
    const isTrue =
      word === undefined || word === "yes" ? count === 1 : word !== "no" || count === 0;
    if (!isTrue || count > 1)
      findings.push(`${nonce} ran ${count} times, and was answered ${JSON.stringify(result)}`);
  }
  return findings;
}

function runsIn(place: string): string[] {
  const ledger = join(place, "ledger");
  if (!existsSync(ledger)) return [];
  const lines = readFileSync(ledger, "utf8").split("\n");
  return lines
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as { nonce: string }).nonce);
}
