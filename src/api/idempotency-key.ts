// Owns: the header by which whoever does not know what became of a request may send it again.
import { AetherError } from "../base/errors.ts";
import type { ApiRequest } from "./api-request.ts";
import { JOB_KEY_LENGTH_MAX } from "./limits.ts";

/** @throws AetherError E_INVALID */
export function idempotencyKey(request: ApiRequest): { readonly idempotencyKey?: string } {
  const key = request.header("idempotency-key");
  if (key === undefined) return {};
  if (key.length >= 1 && key.length <= JOB_KEY_LENGTH_MAX) return { idempotencyKey: key };
  throw new AetherError("E_INVALID", `Idempotency-Key has ${key.length} characters: use 1 to ${JOB_KEY_LENGTH_MAX}`);
}
