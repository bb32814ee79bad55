/**
 * The composition root of a wrapping proxy: builds the world, the edges and the engine, joins them,
 * and ends them. The only file that knows all of them.
 *
 * Order at the start: the client is read at once and answered from the catalogue; meanwhile the journal
 * opens, left-over children are ended, left-over calls are judged; only then is the upstream dialled.
 */
import { deferred } from "../base/async.ts";
import { ConfigError, errorText, JournalError } from "../base/errors.ts";
import { realWorld, type World } from "../base/world.ts";
import type { Settings as EngineSettings, ToolSettings } from "../core/settings.ts";
import { stdioListener } from "../downstream/stdio.ts";
import { Bounds } from "../engine/bounds.ts";
import type { EngineContext } from "../engine/context.ts";
import { Proxy } from "../engine/proxy.ts";
import type { Leftover } from "../engine/rescuer.ts";
import { Tally } from "../engine/tally.ts";
import { serveControl, type ControlServer } from "../observe/control.ts";
import { createLog, fileWriter, streamWriter } from "../observe/log.ts";
import type { Connector, Journal, Log } from "../ports.ts";
import { openCatalogueStore } from "../store/catalogue.ts";
import { openJournals } from "../store/folder.ts";
import { killLeftoverGroup } from "../upstream/process-group.ts";
import { stdioConnector } from "../upstream/stdio.ts";
import { isObject } from "../wire/message.ts";
import { legacyDialect } from "../wire/dialect/legacy.ts";
import { ensureFolder } from "./folders.ts";
import type { RunPlan } from "./options.ts";
import { realSurroundings } from "./plan.ts";

/** Room for the envelope of a message beside the payload that the option bounds. */
const FRAME_HEADROOM_BYTES = 64 * 1024;
/** An assertion failed or the journal is lost: the process ends and the next one recovers. */
const EXIT_BUG = 70;

/** Runs the proxy until its client leaves or it is told to stop. Resolves to the exit code. */
export async function runProxy(plan: RunPlan): Promise<number> {
  const run = new Run(plan);
  return run.untilEnd();
}

class Run {
  readonly #plan: RunPlan;
  readonly #world: World = realWorld();
  readonly #log: Log;
  readonly #journal = deferred<Journal>();
  readonly #ended = deferred<number>();
  readonly #proxy: Proxy;
  #own: Journal | undefined;
  #control: ControlServer | undefined;
  #isEnding = false;

  constructor(plan: RunPlan) {
    this.#plan = plan;
    this.#log = openLog(plan, this.#world);
    this.#proxy = new Proxy(this.#context(), {
      version: plan.version,
      pid: process.pid,
      onEmpty: (cause) => {
        this.#end(cause);
      },
    });
  }

  async untilEnd(): Promise<number> {
    const { settings } = this.#plan;
    const listener = stdioListener({
      world: this.#world,
      log: this.#log,
      input: process.stdin,
      output: process.stdout,
      frameMaxBytes: settings.requestMaxBytes + FRAME_HEADROOM_BYTES,
    });
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
      process.on(signal, () => {
        this.#end(`Holdfast was stopped by ${signal}`);
      });
    }
    process.on("uncaughtException", (error) => {
      this.#fatal(error);
    });
    process.on("unhandledRejection", (error) => {
      this.#fatal(error);
    });
    this.#proxy.start(listener);
    this.#open().catch((error: unknown) => {
      this.#failStart(error);
    });
    const code = await this.#ended.promise;
    await listener.stop();
    return code;
  }

  /** The journal, what was left in it, and the control socket. */
  async #open(): Promise<void> {
    const { folders, identity, settings, name, targetText } = this.#plan;
    const { own, leftovers } = await openJournals({
      world: this.#world,
      log: this.#log,
      folder: folders.state,
      upstream: identity.upstream,
      mode: settings.journal,
      durability: settings.durability,
      retention: { resultsMs: settings.retentionMs, metadataMs: settings.metadataRetentionMs },
    });
    this.#own = own;
    for (const { journal } of leftovers) await this.#endLeftoverChildren(journal);
    const links = await own.kept("link:");
    this.#proxy.restoreLink(links.get(`link:${identity.upstream}`));
    await this.#proxy.recover(
      own,
      leftovers.map((leftover): Leftover => leftover),
    );
    const owner = { pid: process.pid, control: this.#plan.controlPath, name, target: targetText };
    await own.keep("owner", JSON.stringify(owner));
    this.#journal.resolve(own);
    await this.#serveControl();
  }

  /** A child that outlived its proxy would work beside its successor. */
  async #endLeftoverChildren(journal: Journal): Promise<void> {
    for (const [key, text] of await journal.kept("child:")) {
      const child: unknown = JSON.parse(text);
      if (isObject(child) && typeof child["pid"] === "number") {
        const startedAt = String(child["startedAt"]);
        const isKilled = killLeftoverGroup({ pid: child["pid"], startedAt });
        if (isKilled)
          this.#log("warn", "ended a server that an earlier proxy left behind", {
            pid: child["pid"],
          });
      }
      await journal.keep(key, undefined);
    }
  }

  async #serveControl(): Promise<void> {
    const { controlPath, folders } = this.#plan;
    try {
      ensureFolder(folders.run, realSurroundings());
      this.#control = await serveControl({
        path: controlPath,
        control: this.#proxy.control,
        log: this.#log,
      });
    } catch (error) {
      this.#log("warn", "no control socket: status and calls can't see this proxy live", {
        path: controlPath,
        cause: errorText(error),
      });
    }
  }

  #end(cause: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#log("info", "ending", { cause });
    this.#proxy
      .drain(cause)
      .then(() => this.#control?.close())
      .then(() => {
        this.#ended.resolve(0);
      })
      .catch((error: unknown) => {
        this.#fatal(error);
      });
  }

  #failStart(error: unknown): void {
    if (!(error instanceof ConfigError)) {
      this.#fatal(error);
      return;
    }
    process.stderr.write(`holdfast: ${error.message}\n`);
    this.#ended.resolve(2);
  }

  #fatal(error: unknown): void {
    // While everything closes, a late write finds the journal closed; there is nothing left to lose.
    if (this.#isEnding && error instanceof JournalError && error.trouble === "closed") return;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#log("error", "a bug or a lost journal; ending, the next start recovers", { error: text });
    process.exit(EXIT_BUG);
  }

  #context(): EngineContext {
    const plan = this.#plan;
    const settings = engineSettings(plan);
    return {
      world: this.#world,
      log: this.#log,
      settings,
      identity: { ...plan.identity, key: plan.identity.credentials },
      dialect: legacyDialect,
      catalogues: openCatalogueStore({
        folder: plan.folders.cache,
        upstream: plan.identity.upstream,
        credentials: plan.identity.credentials,
        log: this.#log,
      }),
      journal: () => this.#journal.promise,
      newConnector: () => this.#newConnector(),
      bounds: new Bounds(settings.limits),
      tally: new Tally(),
      fatal: (error) => {
        this.#fatal(error);
      },
    };
  }

  #newConnector(): Connector {
    const { target, settings, maskValues } = this.#plan;
    const shared = { world: this.#world, log: this.#log, maskValues };
    if (target.kind === "http") {
      return lazyHttp(
        {
          ...shared,
          url: target.url,
          headers: target.headers,
          replyMaxBytes: settings.resultMaxBytes,
        },
        this.#plan.targetText,
      );
    }
    return stdioConnector({
      ...shared,
      command: target.command,
      args: target.args,
      cwd: target.cwd,
      env: target.env,
      frameMaxBytes: settings.resultMaxBytes + FRAME_HEADROOM_BYTES,
      onChild: (child) => {
        this.#keepChild(child.pid, JSON.stringify(child));
      },
      onChildGone: (pid) => {
        this.#keepChild(pid, undefined);
      },
    });
  }

  #keepChild(pid: number, text: string | undefined): void {
    this.#own?.keep(`child:${String(pid)}`, text).catch((error: unknown) => {
      if (this.#isEnding) return;
      this.#log("warn", "could not note the server's process", { pid, cause: errorText(error) });
    });
  }
}

/** The HTTP upstream is loaded only where it is used: start-up time is a promise. */
function lazyHttp(
  options: Parameters<typeof import("../upstream/http.ts").httpConnector>[0],
  target: string,
): Connector {
  let connector: Connector | undefined;
  return {
    kind: "http",
    target,
    async dial(events, resume, signal) {
      connector ??= (await import("../upstream/http.ts")).httpConnector(options);
      return connector.dial(events, resume, signal);
    },
  };
}

function openLog(plan: RunPlan, world: World): Log {
  const { logFile, logLevel, logFormat, quiet } = plan.settings;
  return createLog({
    level: quiet ? "error" : logLevel,
    format: logFormat,
    world,
    write: logFile === undefined ? streamWriter(process.stderr) : fileWriter(logFile),
    hasColor:
      logFile === undefined && process.stderr.isTTY && process.env["NO_COLOR"] === undefined,
  });
}

function engineSettings(plan: RunPlan): EngineSettings {
  const { settings: s } = plan;
  const tools: Record<string, ToolSettings> = {};
  for (const [name, tool] of plan.tools) {
    tools[name] = {
      ...(tool.safety === undefined ? {} : { safety: tool.safety }),
      ...(tool.holdMs === undefined ? {} : { holdMs: tool.holdMs }),
      ...(tool.defer === undefined ? {} : { defer: tool.defer }),
    };
  }
  return {
    upstreamName: plan.name,
    transport: plan.target.kind,
    holdMs: s.holdMs,
    progressEveryMs: s.progressEveryMs,
    defer: s.defer,
    deferTtlMs: s.deferTtlMs,
    shield: s.shield,
    trustAnnotations: s.trustAnnotations,
    isStateful: s.stateful,
    hasControlTool: s.controlTool,
    handshakeWaitMs: s.handshakeWaitMs,
    replayRate: s.replayRate,
    concurrency: s.concurrency,
    backlogWindow: s.backlogWindow,
    drainMs: s.drainTimeoutMs,
    limits: {
      callsPerSession: s.sessionMaxCalls,
      bytesPerSession: s.sessionMaxBytes,
      callsPerUpstream: s.upstreamMaxCalls,
      callsPerProcess: s.processMaxCalls,
      bytesPerProcess: s.processMaxBytes,
      requestMaxBytes: s.requestMaxBytes,
      resultMaxBytes: s.resultMaxBytes,
    },
    tools,
    clients: Object.fromEntries([...plan.clients].map(([name, { holdMs }]) => [name, holdMs])),
  };
}
