import { once } from "node:events";
import { createServer, get, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { answerJson } from "../../src/downstream/http/answers.ts";
import { Outlet } from "../../src/downstream/http/outlet.ts";

/** What a client reads of a response that `write` writes. */
async function readOf(write: (response: ServerResponse) => void): Promise<string> {
  const server = createServer((_request, response) => {
    write(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    return await new Promise<string>((resolve, reject) => {
      get({ port, host: "127.0.0.1" }, (response) => {
        let read = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (read += chunk));
        response.on("end", () => {
          resolve(read);
        });
      }).on("error", reject);
    });
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

test("the id that a client can come back with has left before anything else is done", async () => {
  const unsent: (number | undefined)[] = [];
  const text = await readOf((response) => {
    const outlet = new Outlet(response);
    outlet.prime("epoch123.c_1.1", true);
    unsent.push(response.socket?.writableLength);
    outlet.event("{}", "epoch123.done.2");
    outlet.end();
  });
  expect(unsent).toEqual([0]);
  expect(text).toBe(
    "id: epoch123.c_1.1\nretry: 1500\ndata: \n\nid: epoch123.done.2\nevent: message\ndata: {}\n\n",
  );
});

test("large messages arrive whole, in their order, on one line", async () => {
  const part = '{"日本":"😀 é"},\r\n';
  const large = `[${part.repeat(200_000)}0]`;
  const text = await readOf((response) => {
    const outlet = new Outlet(response);
    outlet.event("1", "a.b.1");
    outlet.event(large, "a.b.2");
    outlet.event(large, undefined);
    outlet.event("4", "a.b.4");
    outlet.end();
  });
  const line = large.replaceAll("\r\n", " ");
  const expected =
    "id: a.b.1\nevent: message\ndata: 1\n\n" +
    `id: a.b.2\nevent: message\ndata: ${line}\n\n` +
    `event: message\ndata: ${line}\n\n` +
    "id: a.b.4\nevent: message\ndata: 4\n\n";
  // A difference of megabytes is not for people.
  expect(text === expected).toBe(true);
});

test("a large answer arrives whole", async () => {
  const large = JSON.stringify({ text: "日本 😀 é".repeat(300_000) });
  const text = await readOf((response) => {
    answerJson(response, 200, large);
  });
  expect(text === large).toBe(true);
});
