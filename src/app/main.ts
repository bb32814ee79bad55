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
import { stdioListener } from "../downstream/stdio.ts";
import { Bounds } from "../engine/bounds.ts";
import type { Branch } from "../engine/branch.ts";
import type { EngineContext } from "../engine/context.ts";
import { Feed } from "../engine/feed.ts";
import { Gate } from "../engine/gate.ts";
import { Proxy } from "../engine/proxy.ts";
import { Tally } from "../engine/tally.ts";
import { serveControl, type ControlServer } from "../observe/control.ts";
import { createLog, fileWriter, streamWriter } from "../observe/log.ts";
import type { Journal, Log } from "../ports.ts";
import { openCatalogueStore } from "../store/catalogue.ts";
import { openJournals } from "../store/folder.ts";
import { killLeftoverGroup } from "../upstream/process-group.ts";
import { isObject } from "../wire/message.ts";
import { legacyDialect } from "../wire/dialect/legacy.ts";
import { FRAME_HEADROOM_BYTES, newConnector } from "./connectors.ts";
import { engineSettings } from "./engine-settings.ts";
import { ensureFolder } from "./folders.ts";
import type { RunPlan } from "./options.ts";
import { realSurroundings } from "./plan.ts";

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
  readonly #branch: Branch;
  #own: Journal | undefined;
  #control: ControlServer | undefined;
  #isEnding = false;

  constructor(plan: RunPlan) {
    this.#plan = plan;
    this.#log = openLog(plan, this.#world);
    const context = this.#context();
    const { drainMs, retention } = context.settings;
    this.#proxy = new Proxy(context, {
      version: plan.version,
      pid: process.pid,
      drainMs,
      retention,
      onEmpty: (cause) => {
        this.#end(cause);
      },
    });
    this.#branch = this.#proxy.add(context);
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
    this.#proxy.start();
    listener.start((link) => this.#branch.enter(link));
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
      upstreamDigest: identity.upstream,
      credentialsDigest: identity.credentials,
      mode: settings.journal,
      durability: settings.durability,
    });
    this.#own = own;
    for (const journal of [own, ...leftovers.map((left) => left.journal)]) {
      await this.#endLeftoverChildren(journal);
    }
    const recovery = await own.recover(this.#world.now());
    await this.#proxy.recover([
      { journal: own, recovery, isAbandoned: false, isCaretaken: false },
      ...leftovers.map(({ journal, recovery, heldBecause }) => {
        return { journal, recovery, isAbandoned: heldBecause !== undefined, isCaretaken: true };
      }),
    ]);
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
    const fatal = (error: unknown) => {
      this.#fatal(error);
    };
    return {
      world: this.#world,
      log: this.#log,
      settings,
      identity: { ...plan.identity, key: plan.identity.credentials },
      dialect: legacyDialect,
      catalogues: openCatalogueStore({
        folder: plan.folders.cache,
        upstreamDigest: plan.identity.upstream,
        credentialsDigest: plan.identity.credentials,
        world: this.#world,
        log: this.#log,
      }),
      journal: () => this.#journal.promise,
      newConnector: () =>
        newConnector(plan, {
          world: this.#world,
          log: this.#log,
          onChild: (child) => {
            this.#keepChild(child.pid, JSON.stringify(child));
          },
          onChildGone: (pid) => {
            this.#keepChild(pid, undefined);
          },
        }),
      bounds: new Bounds(settings.limits),
      gate: new Gate({ world: this.#world, settings, fatal }),
      tally: new Tally(),
      feed: new Feed(),
      fatal,
    };
  }

  #keepChild(pid: number, text: string | undefined): void {
    this.#own?.keep(`child:${String(pid)}`, text).catch((error: unknown) => {
      if (this.#isEnding) return;
      this.#log("warn", "could not note the server's process", { pid, cause: errorText(error) });
    });
  }
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
