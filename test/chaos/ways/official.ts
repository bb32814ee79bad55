/** The official client's transports: Streamable HTTP, and HTTP+SSE. Both come back by themselves. */
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";
import type { Way } from "../caller.ts";

/** More patient than its default of two attempts, with which it would lose what a longer outage holds. */
const PATIENT = {
  initialReconnectionDelay: 50,
  maxReconnectionDelay: 500,
  reconnectionDelayGrowFactor: 1.3,
  maxRetries: 1_000,
};

/** What a stream is answered that its session was not found for. */
const NO_SESSION = "this stream has no session";

/** That transport's own word for a session that the other side does not know. */
const isSessionLoss = (error: Error): boolean => /\b404\b|[Ss]ession not found/.test(error.message);

export function openOfficialHttp(url: string): Way {
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    reconnectionOptions: PATIENT,
  });
  const known = new Set<string>();
  return {
    open: async (hear, lost) => {
      transport.onmessage = (message) => {
        hear(JSON.stringify(message));
      };
      transport.onerror = (error) => {
        if (isSessionLoss(error)) lost(`its session is not known: ${error.message}`, true);
      };
      await transport.start();
    },
    send: (message, onKept) => {
      const id = "id" in message ? String(message.id) : undefined;
      const onresumptiontoken = () => {
        if (id !== undefined) known.add(id);
        onKept();
      };
      return transport.send(message as JSONRPCMessage, { onresumptiontoken });
    },
    agreed: (version) => {
      transport.setProtocolVersion(version);
    },
    close: async () => {
      const isTaken = await transport.terminateSession().then(
        () => true,
        () => false,
      );
      await transport.close();
      return isTaken;
    },
    canReturnFor: (id) => known.has(id),
  };
}

/**
 * `url` names the client, so that it is given its own session back among many of its kind. Between a death and
 * its next stream it may post to an address that is not good any more, and is told so (404); its session is
 * lost only if a new stream has none.
 */
export function openOfficialSse(url: string): Way {
  const transport = new SSEClientTransport(new URL(url));
  const taken = new Set<string>();
  return {
    open: async (hear, lost) => {
      transport.onmessage = (message) => {
        const text = JSON.stringify(message);
        hear(text);
        if (text.includes(NO_SESSION)) lost(`its new stream has no session: ${text}`, true);
      };
      await transport.start();
    },
    send: async (message) => {
      await transport.send(message as JSONRPCMessage);
      if ("id" in message) taken.add(String(message.id));
    },
    agreed: (version) => {
      transport.setProtocolVersion(version);
    },
    close: async () => {
      await transport.close();
      return false;
    },
    canReturnFor: (id) => taken.has(id),
  };
}
