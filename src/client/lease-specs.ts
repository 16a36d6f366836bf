// Owns: the requests about leases. All may be sent again: a second grant is a lease that nobody renews.
import type { LeaseGrant } from "../kvstore/kv.ts";
import type { LeaseId } from "../kvstore/core/schema.ts";
import type { RequestSpec } from "./request.ts";

type Patience = Pick<RequestSpec, "timeoutMs" | "signal">;

export function grantSpec({ ttlMs, requests = false }: LeaseGrant, patience: Patience): RequestSpec {
  return {
    ...patience,
    what: `lease of ${ttlMs} ms`,
    effect: "idempotent",
    persistence: "serve",
    message: (id, timeoutMs) => ({ kind: "grant", id, timeoutMs, ttlMs, requests }),
  };
}

export function renewSpec(lease: LeaseId, patience: Patience): RequestSpec {
  return {
    ...patience,
    what: `renewal of lease ${lease}`,
    effect: "idempotent",
    persistence: "serve",
    message: (id, timeoutMs) => ({ kind: "renew", id, timeoutMs, lease }),
  };
}

export function revokeSpec(lease: LeaseId, patience: Patience): RequestSpec {
  return {
    ...patience,
    what: `end of lease ${lease}`,
    effect: "idempotent",
    persistence: "serve",
    message: (id, timeoutMs) => ({ kind: "revoke", id, timeoutMs, lease }),
  };
}
