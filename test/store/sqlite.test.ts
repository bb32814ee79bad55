import { aFolder, aSqliteJournal } from "./builders.ts";
import { exerciseStore } from "./conformance.ts";

exerciseStore("sqlite", async () => (await aSqliteJournal(aFolder())).journal);
