/** The ways in which MCP messages travel, on either side. */
export type TransportKind = "stdio" | "http" | "sse" | "ws";

export const TRANSPORT_KINDS: readonly TransportKind[] = ["stdio", "http", "sse", "ws"];
