/** Clients that come over the network to a stage, and can come back: each transport with a key. */
import type { ClientLink } from "../../src/ports.ts";
import { Stage, type ScriptedClient, type StageOptions } from "./stage.ts";

export const HTTP = { transport: "http", canResume: true, key: "key-of-a-client" } as const;
export const WS = { transport: "ws", key: "key-of-a-socket" } as const;
export const SSE = { transport: "sse", canResume: true, key: "key-of-a-stream" } as const;

/** A stage with one client that has begun its session. */
export async function begun(
  link: Partial<ClientLink>,
  options: StageOptions = {},
): Promise<[Stage, ScriptedClient]> {
  const stage = await new Stage(options).start();
  return [stage, await begin(stage, link)];
}

export async function begin(stage: Stage, link: Partial<ClientLink>): Promise<ScriptedClient> {
  const client = stage.guest(link);
  client.initialize();
  await stage.world.advance(10);
  client.notify("notifications/initialized");
  await stage.world.advance(10);
  return client;
}
