// Owns: reading the list of approvals that jobs wait for.
import { AetherError } from "../../base/errors.ts";
import type { JobKey } from "../../kvstore/core/job-key.ts";
import { knownKey, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry } from "../../kvstore/core/schema.ts";
import { parseApprovalRow } from "../core/flow/approval-row.ts";
import type { CallName } from "../core/ids.ts";
import type { ApprovalListed } from "../ports.ts";

/** @throws AetherError E_DATA_CORRUPT */
export function approvalOf({ key, value }: KvEntry): ApprovalListed {
  const { job, name } = approvalKeyOf(key);
  return { job, call: name as CallName, row: parseApprovalRow(value) };
}

/** @throws AetherError E_DATA_CORRUPT */
export function approvalKeyOf(text: KeyText): Extract<JobKey, { readonly kind: "job-approval" }> {
  const key = knownKey(text);
  if (key?.kind === "job-approval") return key;
  throw new AetherError("E_DATA_CORRUPT", `"${text}" is not the key of an approval`);
}
