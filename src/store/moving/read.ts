/** Reads what `exportLines` wrote, as it comes, in memory bounded by its longest line. */
import { RefusedError } from "../../base/errors.ts";
import { LineFramer } from "../../wire/framing.ts";
import type { Frame } from "../../wire/framing.ts";
import { Tally, parseObject, readHeader } from "./format.ts";
import type { Counts, Header, MovedRecord } from "./format.ts";
import { readRecord } from "./records.ts";

/** A request and a result of the largest size that can be configured fit, escaped; V8's strings end at 512 MiB. */
const LINE_MAX_BYTES = 400 * 1024 * 1024;

export interface ReadExport {
  readonly header: Header;
  readonly counts: Counts;
  /** Of all lines but the last, in hex: what the file is known by. */
  readonly sha256: string;
}

/**
 * Gives each record to `take`, which may throw `RefusedError`. Rejects with `RefusedError`, naming the
 * line, for anything that is not exactly such a file; until it resolves nothing that was taken counts.
 */
export async function readExport(
  input: AsyncIterable<Uint8Array>,
  take: (record: MovedRecord) => void,
): Promise<ReadExport> {
  const framer = new LineFramer(LINE_MAX_BYTES);
  const reader = new Reader(take);
  for await (const chunk of input) for (const frame of framer.push(chunk)) reader.read(frame);
  return reader.end(framer.pendingBytes);
}

class Reader {
  readonly #take: (record: MovedRecord) => void;
  readonly #tally = new Tally();
  #header: Header | undefined;
  #hasJournal = false;
  /** Once the last line was read. */
  #sha256: string | undefined;
  #lines = 0;

  constructor(take: (record: MovedRecord) => void) {
    this.#take = take;
  }

  read(frame: Frame): void {
    this.#lines++;
    if (this.#sha256 !== undefined) this.#refuse("stands after the end");
    if (frame.kind === "oversize")
      this.#refuse(`has ${String(frame.bytes)} bytes, which is too long`);
    if (frame.kind === "invalid_utf8") this.#refuse("is no UTF-8");
    if (this.#header === undefined) {
      this.#header = readHeader(frame.text);
      this.#tally.add(frame.text, undefined);
      return;
    }
    const value = parseObject(frame.text) ?? this.#refuse("is no JSON object");
    if (value["kind"] === "end") this.#end(frame.text);
    else this.#record(frame.text, readRecord(value));
  }

  #record(text: string, record: MovedRecord | string): void {
    if (typeof record === "string") this.#refuse(record);
    if (record.kind === "journal") this.#hasJournal = true;
    else if (!this.#hasJournal) this.#refuse("stands before the journal that it belongs to");
    this.#tally.add(text, record.kind);
    try {
      this.#take(record);
    } catch (error) {
      if (error instanceof RefusedError) this.#refuse(error.message);
      throw error;
    }
  }

  #end(text: string): void {
    const { line, sha256 } = this.#tally.trailer();
    this.#sha256 = sha256;
    if (text !== line)
      this.#refuse("has another checksum than the lines before it: something was changed");
  }

  #refuse(what: string): never {
    throw new RefusedError(`line ${String(this.#lines)}: ${what}`);
  }

  end(pendingBytes: number): ReadExport {
    if (this.#header === undefined && pendingBytes === 0) throw new RefusedError("it is empty");
    if (this.#header === undefined || this.#sha256 === undefined || pendingBytes > 0) {
      throw new RefusedError(
        `it ends after line ${String(this.#lines)} without its last line: a part of it is missing`,
      );
    }
    return { header: this.#header, counts: this.#tally.counts, sha256: this.#sha256 };
  }
}
