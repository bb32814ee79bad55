/** Reads the one message that a POST carries. */
import type { IncomingMessage } from "node:http";
import { parseMessage } from "../../wire/message.ts";
import type { Readable } from "./opening.ts";

/** The HTTP answer to a POST that is not taken, in words. */
export interface Refusal {
  readonly status: number;
  readonly words: string;
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Undefined where the client went away before all of it had come. */
export async function readBody(
  request: IncomingMessage,
  requestMaxBytes: number,
): Promise<Readable | Refusal | undefined> {
  const type = (request.headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    return { status: 415, words: "the content type of a message is application/json" };
  }
  if (request.headers["content-encoding"] !== undefined) {
    return { status: 415, words: "a message is not encoded (Content-Encoding)" };
  }
  const bytes = await collect(request, requestMaxBytes);
  if (bytes === "oversize") {
    const limit = String(requestMaxBytes);
    return {
      status: 413,
      words: `Not executed: the message is over the limit of ${limit} bytes (option --max-request-bytes)`,
    };
  }
  return bytes === undefined ? undefined : messageOf(bytes);
}

function messageOf(bytes: Uint8Array): Readable | Refusal {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return { status: 400, words: "Not executed: invalid UTF-8" };
  }
  const message = parseMessage(text);
  if (message.kind !== "malformed") return message;
  return { status: 400, words: `Not executed: ${message.reason}` };
}

/** Stops reading as soon as there is more than `maxBytes`. */
function collect(
  request: IncomingMessage,
  maxBytes: number,
): Promise<Uint8Array | "oversize" | undefined> {
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) return Promise.resolve("oversize");
  return new Promise((resolve) => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    request.on("data", (chunk: Uint8Array) => {
      length += chunk.length;
      if (length > maxBytes) {
        request.pause();
        chunks.length = 0;
        resolve("oversize");
        return;
      }
      chunks.push(chunk);
    });
    request.on("end", () => {
      resolve(Buffer.concat(chunks, length));
    });
    // After the end, or an error, this changes nothing.
    request.on("close", () => {
      resolve(undefined);
    });
    request.on("error", () => {
      resolve(undefined);
    });
  });
}
