// Owns: the WebSocket address of a node's API, from whatever form of it a person or a node gives.
import { SESSION_PATH } from "../api/protocol.ts";
import { AetherError } from "../base/errors.ts";

/** @throws AetherError E_CONFIG for an address that is none. */
export function sessionUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const protocol = /^(https?|wss?):$/.exec(url?.protocol ?? "")?.[0];
  if (url === undefined || protocol === undefined) {
    throw new AetherError("E_CONFIG", `"${text}" is not the address of a node: use one like http://127.0.0.1:7201`);
  }
  url.protocol = protocol.replace("http", "ws");
  if (url.pathname === "/") url.pathname = SESSION_PATH;
  return url.href;
}
