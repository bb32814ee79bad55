/**
 * The optional tool `holdfast_<upstream>` (`--control-tool`): lets a model see and withdraw its own
 * waiting calls. Off by default, so that a wrapped server's tools stay exactly its own.
 */
import { type CallRow, isTerminal } from "../core/call.ts";
import { RefusedError } from "../base/errors.ts";
import type { Control } from "../ports.ts";
import { formatResult, isObject, parseMessage, type RequestMessage } from "../wire/message.ts";

export interface ControlTool {
  readonly name: string;
  readonly definition: readonly unknown[];
  /** The `tools/list` reply with the tool on its last page. */
  addTo(reply: string): string;
  call(request: RequestMessage, answer: (text: string) => void): Promise<void>;
}

const ACTIONS = ["list", "result", "cancel"] as const;

function definitionOf(name: string, upstreamName: string): unknown {
  return {
    name,
    title: `Waiting calls of ${upstreamName}`,
    description: `Shows calls to '${upstreamName}' that wait or ended lately, gives the result of one by its id, or withdraws one that has not run.`,
    inputSchema: {
      type: "object",
      properties: {
        action: { type: "string", enum: ACTIONS },
        id: { type: "string", description: "The call's id (c_…), for result and cancel." },
      },
      required: ["action"],
    },
    annotations: { readOnlyHint: false, destructiveHint: false, openWorldHint: false },
  };
}

/** The tool's name for an upstream: only characters that every client accepts. */
export function controlToolName(upstreamName: string): string {
  return `holdfast_${upstreamName.replace(/[^A-Za-z0-9_-]/g, "_")}`.slice(0, 64);
}

/** `isMine`: whether a call may be seen by the client that has the tool. */
export function newControlTool(
  upstreamName: string,
  control: Control,
  isMine: (row: CallRow) => Promise<boolean>,
): ControlTool {
  const name = controlToolName(upstreamName);
  const definition = [definitionOf(name, upstreamName)];
  return {
    name,
    definition,
    addTo(reply) {
      const message = parseMessage(reply);
      if (message.kind !== "reply") return reply;
      const { result } = message;
      if (!isObject(result)) return reply;
      const { tools, nextCursor } = result;
      if (!Array.isArray(tools) || nextCursor !== undefined) return reply;
      const idText = JSON.stringify(message.id);
      return formatResult(idText, {
        ...result,
        tools: [...(tools as unknown[]), ...definition],
      });
    },
    async call(request, answer) {
      const args = request.params?.["arguments"];
      const { text, isError } = await run(control, isMine, isObject(args) ? args : {});
      answer(formatResult(request.idText, { content: [{ type: "text", text }], isError }));
    },
  };
}

interface Said {
  readonly text: string;
  readonly isError: boolean;
}

/** More are looked through for those of one client. */
const LOOK_MAX = 1_000;
const SHOWN_MAX = 50;

async function run(
  control: Control,
  isMine: (row: CallRow) => Promise<boolean>,
  args: Readonly<Record<string, unknown>>,
): Promise<Said> {
  const { action, id } = args;
  try {
    if (action === "list") {
      const rows: CallRow[] = [];
      for (const row of await control.list({ limit: LOOK_MAX })) {
        if (rows.length < SHOWN_MAX && (await isMine(row))) rows.push(row);
      }
      const lines = rows.map(
        (r) => `${r.id} ${r.state} (executed: ${r.executed}) ${r.tool ?? r.method}`,
      );
      return { text: lines.length === 0 ? "No calls are kept." : lines.join("\n"), isError: false };
    }
    if (typeof id !== "string") return { text: "An id is needed for this action.", isError: true };
    const known = await control.show(id);
    if (known === undefined || !(await isMine(known)))
      return { text: `There is no call ${id}.`, isError: true };
    if (action === "cancel") {
      const row = await control.cancel(id);
      return { text: `${row.id} is ${row.state} (executed: ${row.executed}).`, isError: false };
    }
    if (action === "result") {
      const row = known;
      const result = isTerminal(row.state) ? (row.reply ?? row.cause ?? "") : "";
      return {
        text: `${row.id} is ${row.state} (executed: ${row.executed}). ${result}`.trim(),
        isError: false,
      };
    }
    return { text: `The action must be one of ${ACTIONS.join(", ")}.`, isError: true };
  } catch (error) {
    if (error instanceof RefusedError) return { text: error.message, isError: true };
    throw error;
  }
}
