import { expect, it } from "vitest";
import { Stage } from "../support/stage.ts";

const log = (n: number) =>
  `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":${String(n)}}}`;

it("a client that does not read loses notifications, said once, and NOT its answers", async () => {
  const stage = await new Stage().start();
  const client = await stage.connected();
  stage.upstream.say(log(1));
  client.unreadBytes = 20 * 1024 * 1024;
  stage.upstream.say(log(2));
  stage.upstream.say(log(3));
  const id = client.call("write", "a");
  await stage.world.advance(10);
  expect(client.told(id)?.text).toBe("write a");
  client.unreadBytes = 0;
  stage.upstream.say(log(4));
  const data = client
    .notifications("notifications/message")
    .map((message) => (message["params"] as { data: number }).data);
  expect(data).toEqual([1, 4]);
  expect(stage.log.filter((line) => line.includes("does not read"))).toHaveLength(1);
});
