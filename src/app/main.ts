/**
 * The composition root of a wrapping proxy: one client on stdio, one upstream, one end.
 *
 * Order at the start: the client is read at once and answered from the catalogue; meanwhile the journal
 * opens, and the upstream is dialled only after that.
 */
import { stdioListener } from "../downstream/stdio.ts";
import { FRAME_HEADROOM_BYTES } from "./connectors.ts";
import type { RunPlan } from "./options.ts";
import { EngineProcess } from "./process.ts";

/** Runs the proxy until its client leaves or it is told to stop. Resolves to the exit code. */
export async function runProxy(plan: RunPlan): Promise<number> {
  const { identity, settings, name, targetText } = plan;
  const engine = new EngineProcess(plan, {
    onEmpty: (cause) => {
      engine.end(cause);
    },
    // The client may still read: its listener stops when everything is answered.
    onEnding: () => undefined,
    isRevoked: () => false,
    onDrained: () => Promise.resolve(),
  });
  const branch = engine.proxy.add(engine.contextOf(plan));
  const listener = stdioListener({
    world: engine.world,
    log: engine.log,
    input: process.stdin,
    output: process.stdout,
    frameMaxBytes: settings.requestMaxBytes + FRAME_HEADROOM_BYTES,
  });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.on(signal, () => {
      engine.end(`Holdfast was stopped by ${signal}`);
    });
  }
  engine.proxy.start();
  listener.start((link) => branch.enter(link));
  engine
    .open({
      upstreamDigest: identity.upstream,
      credentialsDigest: identity.credentials,
      mode: settings.journal,
      name,
      target: targetText,
    })
    .then((journals) => engine.recover(journals))
    .then(() => engine.serveControl())
    .catch((error: unknown) => {
      engine.failStart(error);
    });
  const code = await engine.ended;
  await listener.stop();
  return code;
}
