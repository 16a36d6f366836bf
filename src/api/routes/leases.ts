// Owns: /v1/leases: granting, renewing, revoking and showing leases. Keys are attached by PUT /v1/kv/{key}?lease=.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN } from "../../kvstore/core/command.ts";
import type { LeaseId } from "../../kvstore/core/schema.ts";
import type { ApiRequest } from "../api-request.ts";
import { jsonResponse } from "../json.ts";
import { KV_TIMEOUT_MS } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

const DEADLINE = { "X-Deadline-Ms": "Milliseconds until the caller gives up; default 5000" };
const LEASE_PATH = "/v1/leases/:lease";

const grantSchema = z.strictObject({
  ttlMs: z.int().min(LEASE_TTL_MS_MIN).max(LEASE_TTL_MS_MAX),
  requests: z.boolean().default(false),
});

export function leaseRoutes({ kv }: ApiServices): readonly Route[] {
  return [
    {
      method: "POST",
      path: "/v1/leases",
      summary: "Grants a lease; with requests it is a session, which remembers what it was asked",
      body: grantSchema,
      headers: DEADLINE,
      answer: "{ lease, ttlMs }",
      handle: async (request) => {
        const grant = parseInput(grantSchema, await request.readJson(), "the lease");
        return jsonResponse(200, await kv.grantLease(grant, { timeoutMs: request.timeoutMs(KV_TIMEOUT_MS) }));
      },
    },
    {
      method: "POST",
      path: `${LEASE_PATH}/renew`,
      summary: "Renews a lease: its time begins anew",
      headers: DEADLINE,
      answer: "{ lease }",
      expectsMisses: true,
      handle: async (request) => {
        const lease = leaseOf(request);
        await kv.renewLease(lease, { timeoutMs: request.timeoutMs(KV_TIMEOUT_MS) });
        return jsonResponse(200, { lease });
      },
    },
    {
      method: "GET",
      path: LEASE_PATH,
      summary: "One lease, as this node has it applied",
      answer: "{ lease, ttlMs, requests, keys, renewals }",
      expectsMisses: true,
      handle: (request) => {
        const lease = leaseOf(request);
        const found = kv.lease(lease);
        if (found === undefined) throw missing(lease);
        return jsonResponse(200, found);
      },
    },
    {
      method: "DELETE",
      path: LEASE_PATH,
      summary: "Ends a lease and deletes its keys",
      headers: DEADLINE,
      answer: "{ lease }",
      expectsMisses: true,
      handle: async (request) => {
        const lease = leaseOf(request);
        await kv.revokeLease(lease, { timeoutMs: request.timeoutMs(KV_TIMEOUT_MS) });
        return jsonResponse(200, { lease });
      },
    },
  ];
}

/** @throws AetherError E_INVALID */
function leaseOf(request: ApiRequest): LeaseId {
  const text = request.param("lease");
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new AetherError("E_INVALID", `"${text}" is not the number of a lease: use one like 17`);
}

function missing(lease: LeaseId): AetherError {
  return new AetherError("E_NOT_FOUND", `this node knows no lease ${lease}: it has ended, or is not applied here yet`, {
    outcome: "none",
    details: { lease },
  });
}
