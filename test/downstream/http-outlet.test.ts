import { once } from "node:events";
import { createServer, get } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { Outlet } from "../../src/downstream/http/outlet.ts";

test("the id that a client can come back with has left before anything else is done", async () => {
  const unsent: (number | undefined)[] = [];
  const server = createServer((_request, response) => {
    const outlet = new Outlet(response);
    outlet.prime("epoch123.c_1.1", true);
    unsent.push(response.socket?.writableLength);
    outlet.event("{}", "epoch123.done.2");
    outlet.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    const text = await new Promise<string>((resolve, reject) => {
      get({ port, host: "127.0.0.1" }, (response) => {
        let read = "";
        response.on("data", (chunk: Buffer) => (read += chunk.toString()));
        response.on("end", () => {
          resolve(read);
        });
      }).on("error", reject);
    });
    expect(unsent).toEqual([0]);
    expect(text).toBe(
      "id: epoch123.c_1.1\nretry: 1500\ndata: \n\nid: epoch123.done.2\nevent: message\ndata: {}\n\n",
    );
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
