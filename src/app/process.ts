/**
 * What every process that runs the engine has, whether it wraps one server or serves many: its world and
 * log, its journal with what was left in it, its control socket, and one end.
 *
 * Order at the start: the journal opens, left-over children are ended; sessions may begin from then on.
 * Left-over calls are judged; only then does anything run.
 */
import { deferred } from "../base/async.ts";
import { ConfigError, errorText, JournalError } from "../base/errors.ts";
import { realWorld, type World } from "../base/world.ts";
import { Bounds, ProcessBounds } from "../engine/bounds.ts";
import type { EngineContext } from "../engine/context.ts";
import { Feed } from "../engine/feed.ts";
import { Gate } from "../engine/gate.ts";
import { Proxy, type ProxyOptions } from "../engine/proxy.ts";
import { Tally } from "../engine/tally.ts";
import { serveControl, type ControlServer } from "../observe/control.ts";
import { createLog, fileWriter, streamWriter } from "../observe/log.ts";
import type { Journal, Log } from "../ports.ts";
import { openCatalogueStore } from "../store/catalogue.ts";
import { type FolderOptions, type Journals, openJournals } from "../store/folder.ts";
import { killLeftoverGroup } from "../upstream/process-group.ts";
import { isObject } from "../wire/message.ts";
import { legacyDialect } from "../wire/dialect/legacy.ts";
import { newConnector } from "./connectors.ts";
import { engineSettings } from "./engine-settings.ts";
import { ensureFolder } from "./folders.ts";
import type { Folders, RunPlan } from "./options.ts";
import { snapshotsOf } from "./journal-snapshots.ts";
import type { Settings } from "./option-table.ts";
import { realSurroundings } from "./plan.ts";
import type { Snapshotting } from "./snapshotting.ts";

/** An assertion failed or the journal is lost: the process ends and the next one recovers. */
const EXIT_BUG = 70;
const EXIT_USAGE = 2;

export interface ProcessPlan {
  /** Of this package. */
  readonly version: string;
  readonly settings: Settings;
  readonly folders: Folders;
  readonly controlPath: string;
}

export interface ProcessHooks extends Pick<ProxyOptions, "onEmpty" | "serving"> {
  /** The end has begun: nothing more is taken, but answers still go out. */
  onEnding(): void;
  /** The grant of this principal to use that upstream is gone. */
  isRevoked(principal: string, upstream: string): boolean;
  /** All is answered that will be. Its promise is part of the end. */
  onDrained(): Promise<void>;
}

/** Which journals are this process's, and what it says of itself in its own. */
export interface JournalPlan extends Pick<
  FolderOptions,
  "upstreamDigest" | "credentialsDigest" | "mode" | "dropsDelivered"
> {
  readonly name: string;
  readonly target: string;
}

/** A damaged note is as good as none: it must not keep every start from serving. */
function readNote(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export class EngineProcess {
  readonly #plan: ProcessPlan;
  readonly #hooks: ProcessHooks;
  readonly world: World = realWorld();
  readonly log: Log;
  readonly feed = new Feed();
  readonly proxy: Proxy;
  readonly #bounds: ProcessBounds;
  readonly #opened = deferred<Journal>();
  readonly #journal = deferred<Journal>();
  readonly #ended = deferred<number>();
  #own: Journal | undefined;
  #control: ControlServer | undefined;
  #snapshots: Snapshotting | undefined;
  #isEnding = false;

  constructor(plan: ProcessPlan, hooks: ProcessHooks) {
    this.#plan = plan;
    this.#hooks = hooks;
    const { settings: s, version } = plan;
    this.log = openLog(s, this.world);
    const limits = { callsPerProcess: s.processMaxCalls, bytesPerProcess: s.processMaxBytes };
    this.#bounds = new ProcessBounds(limits, this.world);
    const { world, log, feed, fatal } = this;
    this.proxy = new Proxy(
      { world, log, feed, fatal, journal: () => this.#journal.promise },
      {
        version,
        pid: process.pid,
        drainMs: s.drainTimeoutMs,
        retention: {
          resultsMs: s.retentionMs,
          recordsMs: s.metadataRetentionMs,
          bytesMax: s.journalMaxBytes,
        },
        snapshots: () => this.#snapshots?.status(),
        ...hooks,
      },
    );
    process.on("uncaughtException", fatal);
    process.on("unhandledRejection", fatal);
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** The exit code, once everything is flushed and closed. */
  get ended(): Promise<number> {
    return this.#ended.promise;
  }

  /** The journals; sessions can be saved from now on. Rejects with `ConfigError` in mode `required`. */
  async open(plan: JournalPlan): Promise<Journals> {
    const { name, target, ...which } = plan;
    const { folders, settings, controlPath } = this.#plan;
    const journals = await openJournals({
      ...which,
      world: this.world,
      log: this.log,
      folder: folders.state,
      durability: settings.durability,
      isArchiving: settings.archive === "lines",
    });
    const { own, leftovers } = journals;
    this.#own = own;
    for (const journal of [own, ...leftovers.map((left) => left.journal)]) {
      await this.#endLeftoverChildren(journal);
    }
    const owner = { pid: process.pid, control: controlPath, name, target };
    await own.keep("owner", JSON.stringify(owner));
    this.#opened.resolve(own);
    return journals;
  }

  /** Judges what was left in the journals. Resolves when calls may come. */
  async recover({ own, leftovers }: Journals): Promise<void> {
    const recovery = await own.recover(this.world.now());
    await this.proxy.recover([
      { journal: own, recovery, isAbandoned: false, isCaretaken: false },
      ...leftovers.map((leftover) => ({ ...leftover, isCaretaken: true })),
    ]);
    this.#journal.resolve(own);
    await this.#startSnapshots(own);
  }

  async #startSnapshots(journal: Journal): Promise<void> {
    const { world, log } = this;
    const { version, settings, folders } = this.#plan;
    const stateFolder = folders.state;
    const made = await snapshotsOf({ world, log, version, settings, stateFolder, journal });
    if (this.#isEnding) return;
    this.#snapshots = made;
    made?.start();
  }

  /** A child that outlived its proxy would work beside its successor. */
  async #endLeftoverChildren(journal: Journal): Promise<void> {
    for (const [key, text] of await journal.kept("child:")) {
      const child = readNote(text);
      if (isObject(child) && typeof child["pid"] === "number") {
        const startedAt = String(child["startedAt"]);
        const isKilled = killLeftoverGroup({ pid: child["pid"], startedAt });
        if (isKilled)
          this.log("warn", "ended a server that an earlier proxy left behind", {
            pid: child["pid"],
          });
      }
      await journal.keep(key, undefined);
    }
  }

  async serveControl(): Promise<void> {
    const { controlPath, folders } = this.#plan;
    try {
      ensureFolder(folders.run, realSurroundings());
      this.#control = await serveControl({
        path: controlPath,
        control: this.proxy.control,
        log: this.log,
        ready: this.#journal.promise,
      });
    } catch (error) {
      this.log("warn", "no control socket: status and calls can't see this proxy live", {
        path: controlPath,
        cause: errorText(error),
      });
    }
  }

  /** What the engine needs of one upstream. */
  contextOf(plan: RunPlan): EngineContext {
    const settings = engineSettings(plan);
    const { world, log, feed, fatal } = this;
    return {
      isRevoked: (principal) => this.#hooks.isRevoked(principal, plan.name),
      world,
      log,
      feed,
      fatal,
      settings,
      identity: { ...plan.identity, key: plan.identity.credentials },
      dialect: legacyDialect,
      catalogues: openCatalogueStore({
        folder: plan.folders.cache,
        upstreamDigest: plan.identity.catalogue,
        credentialsDigest: plan.identity.credentials,
        world,
        log,
      }),
      journal: () => this.#journal.promise,
      sessionJournal: () => this.#opened.promise,
      newConnector: () =>
        newConnector(plan, {
          world,
          log,
          onChild: (child) => {
            this.#keepChild(child.pid, JSON.stringify(child));
          },
          onChildGone: (pid) => {
            this.#keepChild(pid, undefined);
          },
        }),
      bounds: new Bounds(settings.limits, this.#bounds),
      gate: new Gate({ world, settings, fatal }),
      tally: new Tally(),
    };
  }

  #keepChild(pid: number, text: string | undefined): void {
    this.#own?.keep(`child:${String(pid)}`, text).catch((error: unknown) => {
      if (this.#isEnding) return;
      this.log("warn", "could not note the server's process", { pid, cause: errorText(error) });
    });
  }

  /** Ends in order within the drain deadline; `code` is what `ended` resolves to. */
  end(cause: string, code = 0): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.log("info", "ending", { cause });
    this.#hooks.onEnding();
    const stopped = this.#snapshots?.stop() ?? Promise.resolve();
    this.proxy
      .drain(cause)
      .then(() => this.#hooks.onDrained())
      .then(() => stopped)
      .then(() => this.#control?.close())
      .then(() => {
        this.#ended.resolve(code);
      })
      .catch(this.fatal);
  }

  /** The start did not succeed. */
  failStart(error: unknown): void {
    if (!(error instanceof ConfigError)) {
      this.fatal(error);
      return;
    }
    process.stderr.write(`holdfast: ${error.message}\n`);
    if (this.#own === undefined) this.#ended.resolve(EXIT_USAGE);
    else this.end("Holdfast could not start", EXIT_USAGE);
  }

  readonly fatal = (error: unknown): void => {
    // While everything closes, a late write finds the journal closed; there is nothing left to lose.
    if (this.#isEnding && error instanceof JournalError && error.trouble === "closed") return;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.log("error", "a bug or a lost journal; ending, the next start recovers", { error: text });
    process.exit(EXIT_BUG);
  };
}

function openLog(settings: Settings, world: World): Log {
  const { logFile, logLevel, logFormat, quiet } = settings;
  return createLog({
    level: quiet ? "error" : logLevel,
    format: logFormat,
    world,
    write: logFile === undefined ? streamWriter(process.stderr) : fileWriter(logFile),
    hasColor:
      logFile === undefined && process.stderr.isTTY && process.env["NO_COLOR"] === undefined,
  });
}
