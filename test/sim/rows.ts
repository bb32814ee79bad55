/** The rows of a simulated journal, for those who look at it from outside. */
import type { Database } from "better-sqlite3";
import type { CallRow } from "../../src/core/call.ts";
import { readRow } from "../../src/store/sqlite/answers.ts";
import { CallStatements } from "../../src/store/sqlite/statements.ts";

/** All rows in order of `seq`; throws where one is damaged. Closes `db`. */
export function rowsOf(db: Database): readonly CallRow[] {
  try {
    return readAll(db);
  } finally {
    db.close();
  }
}

export function readAll(db: Database): readonly CallRow[] {
  const rows = new CallStatements(db, false, ({ id, why }) => {
    throw new Error(`call ${id} is damaged: ${why}`);
  }).read("true order by seq");
  return rows.map(readRow);
}
