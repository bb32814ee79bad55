import { openMemoryJournal } from "../../src/store/memory.ts";
import { exerciseStore } from "./conformance.ts";
import { world } from "./builders.ts";

exerciseStore("memory", async () => openMemoryJournal(world));
