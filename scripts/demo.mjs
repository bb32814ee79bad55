/**
 * The main job on a real server: the official server-everything behind Holdfast, driven by the official
 * client. The server is killed with calls in flight, stays down, calls wait; the proxy is killed too;
 * everything comes back. The demo says what the client saw and what the server was really sent, and
 * ends with an exit code other than 0 if a promise was broken.
 */
import {
  act,
  callTool,
  check,
  cleanUp,
  executed,
  holdfast,
  keepDown,
  letUp,
  listCalls,
  say,
  startClient,
  think,
  timesExecuted,
  until,
  verdict,
  waitingCalls,
} from "./demo/stage.mjs";

/** Its beginning, on one line. */
const brief = (text) => {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 88 ? `${line.slice(0, 87)}…` : line;
};

const labels = (prefix, count) => Array.from({ length: count }, (_, i) => `${prefix}-${i + 1}`);
const only = (prefix) => executed().filter((label) => label.startsWith(`${prefix}-`));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

async function everyday() {
  act("1  An ordinary day");
  const started = await startClient();
  const { tools } = await started.client.listTools();
  say("client", `connected; the server offers ${tools.length} tools`);
  const { text } = await callTool(started.client, "get-sum", { a: 2, b: 3 });
  say("client", `get-sum → ${text}`);
  check("P8", "an answer comes through unchanged", text.includes("5"), text);
  return { ...started, tools };
}

async function killedInFlight({ client }) {
  act("2  The server is killed with two calls in flight");
  const read = callTool(client, "trigger-long-running-operation", { duration: 1, steps: 2 });
  const unsafe = think(client, "endless");
  await until("both calls to reach the server", () => executed().length >= 3);
  say("client", "has sent a read-only call and an unsafe one; both are running");
  keepDown();
  const told = await unsafe;
  say("client", `unsafe call → ${brief(told.text)}`);
  check(
    "P3",
    "the caller of the unsafe call is told that its outcome is unknown",
    told.told?.executed === "unknown",
    JSON.stringify(told),
  );
  return { read };
}

async function queued({ client, tools }, inFlight) {
  act("3  The server stays down; the client goes on");
  const listed = await client.listTools();
  check("P6", "the tools are still there", same(listed.tools, tools), `${listed.tools.length}`);
  const wanted = labels("while-down", 8);
  const answers = wanted.map((label) => think(client, label));
  // The read-only call of before waits too, to be sent again.
  await until("the calls to wait", async () => (await waitingCalls()) === 9);
  say("client", `${wanted.length} more calls made; none failed, all wait`);
  const downAt = Date.now();
  const status = await holdfast("status");
  for (const line of status.stdout.trimEnd().split("\n")) {
    console.log(`           │ ${line.length > 96 ? `${line.slice(0, 95)}…` : line}`);
  }
  await until("three seconds of outage", () => Date.now() - downAt > 3000);
  letUp();
  const settled = await Promise.all(answers);
  say("client", `all ${settled.length} answered: ${brief(settled[0].text)}`);
  const read = await inFlight.read;
  say("client", `the read-only call of before → ${read.text}`);
  check(
    "P1",
    "every call that waited was answered",
    settled.every((one) => !one.isError),
    JSON.stringify(settled.find((one) => one.isError)),
  );
  check("P1", "the read-only call in flight was sent again and answered", !read.isError, read.text);
  check(
    "P5",
    "they ran first in, first out, once each",
    same(only("while-down"), wanted),
    only("while-down").join(" "),
  );
  check(
    "P2",
    "the unsafe call in flight was NOT sent again",
    timesExecuted("endless") === 1,
    `${timesExecuted("endless")} times`,
  );
}

async function proxyKilled({ client, kill, tools }) {
  act("4  The server goes down again, and now the proxy is killed as well");
  keepDown();
  await until("the outage to be seen", async () => (await holdfast("status")).code === 1);
  const wanted = labels("before-kill", 10);
  const lost = Promise.allSettled(wanted.map((label) => think(client, label)));
  await until("the calls to wait", async () => (await waitingCalls()) === wanted.length);
  say("client", `${wanted.length} calls wait`);
  await kill();
  await lost;
  say("proxy", "killed with SIGKILL; the client lost its connection");
  const next = await startClient();
  say("proxy", "started again, as the client's host would do; the server is still down");
  const listed = await next.client.listTools();
  check(
    "P6",
    "the new client has its tools although no server runs",
    same(listed.tools, tools),
    `${listed.tools.length}`,
  );
  letUp();
  await until("the calls to run", () => only("before-kill").length >= wanted.length);
  const fresh = await think(next.client, "after-kill-1");
  say("client", `a new call → ${brief(fresh.text)}`);
  check(
    "P2",
    "each call that had been accepted ran once, in order",
    same(only("before-kill"), wanted),
    only("before-kill").join(" "),
  );
  await until("their results", async () => {
    const rows = await listCalls();
    return rows.filter((row) => row.state === "done").length >= 8 + wanted.length;
  });
  const repeat = await think(next.client, wanted[9]);
  say("client", `repeats a call whose answer it never got → ${brief(repeat.text)}`);
  check(
    "P4",
    "it is given the recorded answer, and nothing runs twice",
    repeat.told?.executed === "yes" && timesExecuted(wanted[9]) === 1,
    JSON.stringify(repeat),
  );
  return next;
}

async function holdEnds() {
  act("5  A caller that was told “not executed”");
  keepDown();
  const { client, close } = await startClient("--hold", "2s", "--defer", "none");
  const told = await think(client, "too-late");
  say("client", `after 2 s of hold → ${brief(told.text)}`);
  check(
    "P3",
    "the caller is told that its call was not executed",
    told.told?.executed === "no",
    JSON.stringify(told),
  );
  letUp();
  await think(client, "later-1");
  check(
    "P5a",
    "and it never runs behind its caller's back",
    timesExecuted("too-late") === 0,
    `${timesExecuted("too-late")} times`,
  );
  await close();
}

async function books() {
  act("6  The books");
  const rows = await listCalls();
  const tally = {};
  for (const { state } of rows) tally[state] = (tally[state] ?? 0) + 1;
  say(
    "proxy",
    `journal: ${Object.entries(tally)
      .map(([state, n]) => `${n} ${state}`)
      .join(", ")}`,
  );
  const isLive = ({ state }) => ["queued", "sent", "in_doubt"].includes(state);
  check(
    "P1",
    "every accepted call has reached exactly one end",
    !rows.some(isLive),
    JSON.stringify(rows.filter(isLive)),
  );
  const unsafe = executed().filter((label) => !/^(get-|trigger-)/.test(label));
  check(
    "P2",
    "no unsafe call reached the server twice",
    new Set(unsafe).size === unsafe.length,
    unsafe.join(" "),
  );
}

try {
  const first = await everyday();
  const inFlight = await killedInFlight(first);
  await queued(first, inFlight);
  const second = await proxyKilled(first);
  await second.close();
  await holdEnds();
  await books();
  process.exitCode = verdict();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
cleanUp();
// A client of a scene that failed may still be connected.
process.exit();
