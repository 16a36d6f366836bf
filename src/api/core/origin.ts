// Owns: keeping web pages out of an API that trusts everybody on this machine. A page in a local browser reaches
// loopback too: its requests carry its own `Origin`, or, after DNS rebinding, its own `Host`.
import { AetherError } from "../../base/errors.ts";

export interface RequestOrigin {
  readonly host: string | undefined;
  readonly origin: string | undefined;
}

/** @throws AetherError E_FORBIDDEN for a request that a page from elsewhere made. */
export function checkOrigin({ host, origin }: RequestOrigin): void {
  if (host !== undefined && !isLoopbackUrl(`http://${host}`)) throw foreign(`the Host "${host}"`);
  if (origin !== undefined && !isLoopbackUrl(origin)) throw foreign(`the Origin "${origin}"`);
}

/** Whether the URL's host is this machine by definition, whatever a name server says. */
export function isLoopbackUrl(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
}

function foreign(what: string): AetherError {
  return new AetherError("E_FORBIDDEN", `${what} is not this machine: this API serves loopback only`);
}
