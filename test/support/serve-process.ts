/** `holdfast serve` in front of given servers, on a free port of loopback, until the lab closes. */
import { configure, startDaemon } from "./daemon.ts";
import type { Lab } from "./lab.ts";

/** An entry of `mcpServers`, as users write it. */
export type ServerEntry =
  | {
      readonly command: string;
      readonly args?: readonly string[];
      readonly env?: Readonly<Record<string, string>>;
    }
  | { readonly type: "http" | "sse" | "ws"; readonly url: string };

export interface Serving {
  readonly pid: number;
  /** Where clients reach this server over Streamable HTTP. */
  mcp(name: string): string;
}

/** Starts it in front of these servers; resolves when it listens, rejects if it ends before. */
export async function throughHoldfast(
  lab: Lab,
  mcpServers: Readonly<Record<string, ServerEntry>>,
): Promise<Serving> {
  configure(lab, mcpServers);
  const { pid, address } = await startDaemon(lab);
  return { pid, mcp: (name) => `${address}/mcp/${name}` };
}
