/** Where an export is written: stdout, at the pace of its reader, or a file that appears when it is whole. */
import { existsSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { RefusedError, errorText } from "../../base/errors.ts";
import type { Outside } from "./screen.ts";

export interface Sink {
  write(line: string): Promise<void>;
  /** All is written, and a file is on the platter under its name. */
  finish(): Promise<void>;
  /** Nothing is left of a file. */
  abandon(): Promise<void>;
}

/** Lines go out in pieces of about so many characters. */
const PIECE_CHARS = 65_536;

/** Collects lines and hands them on in pieces. */
class Pieces {
  readonly #hand: (piece: string) => Promise<void>;
  #piece = "";

  constructor(hand: (piece: string) => Promise<void>) {
    this.#hand = hand;
  }

  async add(line: string): Promise<void> {
    this.#piece += line;
    if (this.#piece.length >= PIECE_CHARS) await this.flush();
  }

  async flush(): Promise<void> {
    const piece = this.#piece;
    this.#piece = "";
    if (piece !== "") await this.#hand(piece);
  }
}

export function stdoutSink(outside: Pick<Outside, "out" | "outTaken">): Sink {
  const pieces = new Pieces(async (piece) => {
    outside.out(piece);
    await outside.outTaken();
  });
  return {
    write: (line) => pieces.add(line),
    finish: () => pieces.flush(),
    abandon: () => Promise.resolve(),
  };
}

/** Rejects with `RefusedError` where the file is there already, or can't be made. */
export async function fileSink(path: string, world: Outside["world"]): Promise<Sink> {
  if (existsSync(path)) throw new RefusedError(`${path} is there already; choose another name`);
  const draft = `${path}.${world.newId("tmp")}`;
  const file = await told(path, open(draft, "wx", 0o600));
  const pieces = new Pieces(async (piece) => {
    await told(path, file.writeFile(piece));
  });
  return {
    write: (line) => pieces.add(line),
    finish: async () => {
      await pieces.flush();
      await told(path, file.sync());
      await file.close();
      await told(path, rename(draft, path));
    },
    abandon: async () => {
      await file.close();
      await rm(draft, { force: true });
    },
  };
}

async function told<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new RefusedError(`${path} can't be written: ${errorText(error)}`);
  }
}
