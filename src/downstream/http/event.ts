/** Writes a message as one server-sent event. */
import type { ServerResponse } from "node:http";
import { LARGE_FROM } from "../../base/large.ts";
import { dropPages, inPages } from "../../base/pages.ts";
import { onOneLine } from "../../wire/framing.ts";

/** `id`: undefined where the client could not come back with it. `onWritten`: the socket has all of it, or is gone. */
export function writeEvent(
  response: ServerResponse,
  text: string,
  id: string | undefined,
  onWritten?: () => void,
): void {
  const head = `${id === undefined ? "" : `id: ${id}\n`}event: message\ndata: `;
  const data = onOneLine(text);
  if (data.length < LARGE_FROM) {
    response.write(`${head}${data}\n\n`, onWritten);
    return;
  }
  // Joined it would be in memory once more, and as a text it takes room for three bytes a character.
  response.cork();
  response.write(head);
  const bytes = inPages(data);
  response.write(bytes, () => {
    dropPages(bytes);
  });
  response.write("\n\n", onWritten);
  response.uncork();
}
