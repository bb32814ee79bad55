/** The options of `serve` alone, a group of the one options table. */
import { readAllowedHost, readAllowedOrigin } from "./address.ts";
import { address, boolean, choice, global, list } from "./option-kinds.ts";

/** Where `serve` listens, and whom it lets in. */
export const listening = {
  listen: address(
    global(
      "listen",
      "127.0.0.1:7411",
      "Where serve listens; port 0 takes a free one. Beyond loopback it needs a token, and TLS in " +
        "front of it, because tokens travel as they are.",
    ),
  ),
  auth: choice(
    global(
      "auth",
      "auto",
      "Whether clients of serve have to show a bearer token. auto: beyond loopback, and everywhere " +
        "from the first holdfast token create on; required: always; none: never.",
    ),
    ["auto", "required", "none"],
  ),
  allowedOrigins: list(
    global(
      "allowedOrigins",
      "none",
      "Origins of web pages that may connect, besides those on loopback.",
    ),
    'origins such as "https://app.example.com"',
    readAllowedOrigin,
  ),
  allowedHosts: list(
    global(
      "allowedHosts",
      "none",
      "Names under which clients reach serve, besides loopback; one without a port goes with any. " +
        "Where there are none, a listener beyond loopback may be called by every IP address, and by " +
        "every name while tokens are asked for.",
    ),
    'names such as "proxy.lan" or "proxy.lan:7411"',
    readAllowedHost,
  ),
  insecure: boolean(
    global(
      "insecure",
      "false",
      "With auth none: serve may listen beyond loopback, and whoever reaches it may use every server.",
    ),
  ),
};
