/**
 * Whether the file is a journal of this version whose pages, indices and tables are as the migrations
 * make them. What is found here decides whether its rows can be looked at.
 */
import type { Database } from "better-sqlite3";
import type { Driver } from "../sqlite/connection.ts";
import { migrate } from "../migrate.ts";
import { APPLICATION_ID, MIGRATIONS } from "../sqlite/migrations.ts";
import { fault } from "./finding.ts";
import type { Finding, JournalView } from "./finding.ts";

/** What SQLite says where only an index differs from its table. */
const OF_INDEX = /^(row \d+ missing from index|wrong # of entries in index|non-unique entry in)/;
const PROBLEMS_MAX = 20;

const HELD_BACK = "no start takes it up: calls in it wait, and new ones get another journal";

/** A file that somebody made, or a kill before the first commit left: no table in it, and nothing lost. */
export function isEmpty(db: Database): boolean {
  const tables = db.prepare("select count(*) from sqlite_schema").pluck().get() as number;
  return tables === 0 && db.pragma("user_version", { simple: true }) === 0;
}

/** Why this version may not touch it; nothing else is looked at then. */
export function foreignTo({ db }: JournalView): Finding | undefined {
  const id = db.pragma("application_id", { simple: true }) as number;
  const version = db.pragma("user_version", { simple: true }) as number;
  if (id !== APPLICATION_ID) {
    return fault({
      check: "schema",
      what: `it is an SQLite database, but not marked as a journal (application_id ${String(id)})`,
      means: HELD_BACK,
      advice: "if it is a journal, bring back its last backup; if not, move it away",
    });
  }
  if (version <= MIGRATIONS.length) return undefined;
  const known = `this one knows up to ${String(MIGRATIONS.length)}`;
  return fault({
    check: "schema",
    what: `it was written by a newer Holdfast (schema ${String(version)}; ${known})`,
    means: HELD_BACK,
    advice: "update mcp-holdfast, then verify again",
  });
}

/** The whole check of SQLite, which reads every page. */
export function lookAtPages({ db }: JournalView): Finding[] {
  const [mode, encoding] = ["journal_mode", "encoding"].map((name) =>
    db.pragma(name, { simple: true }),
  );
  const findings: Finding[] = [];
  if (mode !== "wal" || encoding !== "UTF-8") {
    findings.push(
      fault({
        check: "pragmas",
        what: `journal_mode is ${String(mode)} and encoding ${String(encoding)}, not wal and UTF-8`,
        means: "none for calls: a start sets journal_mode before it relies on it",
        mend: encoding === "UTF-8" ? { kind: "enterWal" } : undefined,
        advice:
          encoding === "UTF-8" ? "" : "it was not made by Holdfast: bring back its last backup",
      }),
    );
  }
  const problems = (
    db.pragma(`integrity_check(${String(PROBLEMS_MAX)})`) as { integrity_check: string }[]
  ).map((row) => row.integrity_check);
  if (problems.length === 1 && problems[0] === "ok") return findings;
  const isIndexOnly = problems.every((problem) => OF_INDEX.test(problem));
  findings.push(isIndexOnly ? ofIndices(problems) : ofPages(problems.join("; ")));
  return findings;
}

export function ofIndices(problems: readonly string[]): Finding {
  return fault({
    check: "integrity",
    what: `an index differs from its table: ${problems.join("; ")}`,
    means: "a call may not be found by its id, or not be looked at by a start",
    mend: { kind: "reindex" },
  });
}

/** Also for what SQLite throws instead of saying it. */
export function ofPages(text: string): Finding {
  return fault({
    check: "integrity",
    what: `its pages are damaged: ${text}`,
    means: HELD_BACK,
    mend: { kind: "rebuild" },
  });
}

interface SchemaRow {
  readonly type: string;
  readonly name: string;
  readonly tbl_name: string;
  readonly sql: string;
}

function schemaOf(db: Database): Map<string, SchemaRow> {
  const rows = db
    .prepare(
      "select type, name, tbl_name, sql from sqlite_schema where name not like 'sqlite\\_%' escape '\\'",
    )
    .all() as SchemaRow[];
  return new Map(rows.map((row) => [`${row.type} ${row.name}`, row]));
}

/** Against a database in memory that the same migrations have made. */
export function lookAtSchema({ db }: JournalView, driver: Driver): Finding[] {
  const version = db.pragma("user_version", { simple: true }) as number;
  if (version === 0) {
    const what = "it has tables, and says that no migration has made them";
    return [fault({ check: "schema", what, means: HELD_BACK, mend: { kind: "rebuild" } })];
  }
  const model = new driver(":memory:");
  let expected: Map<string, SchemaRow>;
  try {
    migrate(model, ":memory:", MIGRATIONS.slice(0, version));
    expected = schemaOf(model);
  } finally {
    model.close();
  }
  const found = schemaOf(db);
  const findings: Finding[] = [];
  for (const [key, row] of expected) {
    if (found.get(key)?.sql !== row.sql) findings.push(ofObject(key, row, found.has(key)));
  }
  for (const key of found.keys()) {
    if (!expected.has(key)) findings.push(ofStranger(key));
  }
  return findings;
}

function ofObject(key: string, { type, name, sql }: SchemaRow, isThere: boolean): Finding {
  // An index holds nothing of its own, and a damaged row is found damaged again.
  const canBeMade = type === "index" || (name === "quarantine" && !isThere);
  return fault({
    check: "schema",
    what: `the ${key} is ${isThere ? "not as Holdfast makes it" : "missing"}`,
    means: type === "index" ? "none, but that a start takes longer" : HELD_BACK,
    mend: canBeMade
      ? { kind: "makeObject", name, isIndex: type === "index", sql }
      : { kind: "rebuild" },
  });
}

function ofStranger(key: string): Finding {
  return fault({
    check: "schema",
    what: `the ${key} is not Holdfast's`,
    means: key.startsWith("trigger")
      ? "it may change rows behind Holdfast's back"
      : "none, unless something else writes to this file",
    advice: "find out who made it, and remove it while no proxy has the journal",
  });
}
