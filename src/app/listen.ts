/** Where `serve` listens, whether it may, and what its door checks. */
import { authorityText, isLoopback } from "../downstream/http/authority.ts";
import type { DoorPolicy } from "../downstream/http/guard.ts";
import type { TokenGatekeeper } from "../store/tokens/gatekeeper.ts";
import type { ListenAddress } from "./address.ts";
import type { Settings } from "./option-table.ts";

/** Whether other machines may reach it. A name other than `localhost` may mean any address. */
export const isBeyondLoopback = ({ host }: ListenAddress): boolean => !isLoopback(host);

export function doorPolicy(
  settings: Pick<Settings, "listen" | "auth" | "allowedOrigins" | "allowedHosts">,
): DoorPolicy {
  return {
    allowedOrigins: settings.allowedOrigins,
    allowedHosts: settings.allowedHosts,
    isBeyondLoopback: isBeyondLoopback(settings.listen),
    asksTokens: settings.auth !== "none",
  };
}

/**
 * Why `serve` must not listen there, with what can be done about it; undefined if it may. Beyond loopback
 * it needs a valid token, or somebody who says in two words that everybody may come in.
 */
export function listenRefusal(
  settings: Pick<Settings, "listen" | "auth" | "insecure">,
  tokens: Pick<TokenGatekeeper, "trouble" | "countValid">,
): string | undefined {
  const { listen, auth, insecure } = settings;
  if (!isBeyondLoopback(listen)) return undefined;
  const reach = `--listen ${authorityText(listen)} can be reached from other machines`;
  const local = "or listen on 127.0.0.1";
  if (auth === "none") {
    if (insecure) return undefined;
    return (
      `${reach}, and with --auth none everybody there could use every server. Leave --auth out and ` +
      `make a token (holdfast token create --name NAME), ${local}, or add --insecure if that is meant`
    );
  }
  const trouble = tokens.trouble();
  if (trouble !== undefined) return `${reach}, and its tokens can't be checked: ${trouble}`;
  if (tokens.countValid() > 0) return undefined;
  return (
    `${reach}, and there is no valid token. Make one (holdfast token create --name NAME), ${local}, ` +
    "or use --auth none --insecure to let everybody in"
  );
}
