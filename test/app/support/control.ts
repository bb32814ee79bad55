/** Proxies as the command line sees them: a `Control` behind a real socket. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { RefusedError } from "../../../src/base/errors.ts";
import type { ProxyEvent } from "../../../src/core/event.ts";
import type { ProxyStatus } from "../../../src/core/status.ts";
import type { Control } from "../../../src/ports.ts";
import { controlPath } from "../../../src/app/folders.ts";
import { serveControl } from "../../../src/observe/control.ts";
import type { ControlServer } from "../../../src/observe/control.ts";
import { makeRow } from "./outside.ts";
import { makeStatus } from "./samples.ts";

/** Knows one call and no session, and tells of nothing. */
export function fakeControl(overrides: Partial<Control> = {}): Control {
  return {
    status: () => Promise.resolve(makeStatus()),
    list: () => Promise.resolve([makeRow({ reply: "{}" })]),
    show: (id) => Promise.resolve(id === "c_known" ? makeRow({ id }) : undefined),
    retry: () => Promise.reject(new RefusedError("call c_1 is queued; only one that ended …")),
    cancel: (id) => Promise.resolve(makeRow({ id, state: "cancelled", executed: "no" })),
    settle: (id, note) => Promise.resolve(makeRow({ id, note })),
    sessions: () => Promise.resolve([]),
    endSession: () => Promise.resolve(),
    restart: () => Promise.resolve(1),
    follow: () => () => undefined,
    ...overrides,
  };
}

/** Followers of a control, told by hand. */
export function aFeed() {
  const tellers = new Set<(event: ProxyEvent) => void>();
  let onChange = (): void => undefined;
  return {
    follow: (tell: (event: ProxyEvent) => void) => {
      tellers.add(tell);
      onChange();
      return () => {
        tellers.delete(tell);
        onChange();
      };
    },
    tell: (event: ProxyEvent) => {
      for (const teller of tellers) teller(event);
    },
    /** Resolves once so many follow. */
    untilFollowers: (count: number) =>
      new Promise<void>((resolve) => {
        onChange = () => {
          if (tellers.size === count) resolve();
        };
        onChange();
      }),
  };
}

/** Serves it where the commands look for proxies of this folder, until the test is over. */
export async function aProxy(
  folder: string,
  control: Partial<Control> = {},
  status: ProxyStatus = makeStatus(),
): Promise<ControlServer> {
  const path = controlPath(join(folder, "state/run"), status.pid, process.platform);
  mkdirSync(join(folder, "state/run"), { recursive: true });
  const whole = fakeControl({ status: () => Promise.resolve(status), ...control });
  const server = await serveControl({ path, control: whole, log: () => undefined });
  onTestFinished(() => server.close());
  return server;
}
