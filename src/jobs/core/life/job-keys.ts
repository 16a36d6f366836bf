// Owns: the keys of one job that its transitions touch, made in one place.
import type { Digest, NodeId } from "../../../base/ids.ts";
import { formatKey, type KeyText } from "../../../kvstore/core/key.ts";
import type { JobRef, PermitPlace } from "../../../kvstore/core/job-key.ts";
import type { CallName } from "../ids.ts";

export function rowKey(ref: JobRef): KeyText {
  return formatKey({ kind: "job", ...ref });
}

export function headKey(ref: JobRef): KeyText {
  return formatKey({ kind: "job-head", ...ref });
}

export function specKey(ref: JobRef): KeyText {
  return formatKey({ kind: "job-spec", ...ref });
}

export function resultKey(ref: JobRef): KeyText {
  return formatKey({ kind: "job-result", ...ref });
}

export function inboxCountKey(ref: JobRef): KeyText {
  return formatKey({ kind: "job-inbox-count", ...ref });
}

export function inboxKey(ref: JobRef, n: number): KeyText {
  return formatKey({ kind: "job-inbox", ...ref, n });
}

export function queueKey(ref: JobRef): KeyText {
  return formatKey({ kind: "job-queue", ...ref });
}

export function permitKey(place: PermitPlace): KeyText {
  return formatKey({ kind: "job-permit", ...place });
}

export function ownedKey(node: NodeId, ref: JobRef): KeyText {
  return formatKey({ kind: "job-owned", node, ...ref });
}

export function outboxKey(ref: JobRef, n: number): KeyText {
  return formatKey({ kind: "job-outbox", ...ref, n });
}

export function untoldKey(ref: JobRef): KeyText {
  return formatKey({ kind: "job-untold", ...ref });
}

/** Of the call that waits for it. */
export function approvalKey(ref: JobRef, call: CallName): KeyText {
  return formatKey({ kind: "job-approval", ...ref, name: call });
}

export function seenKey(ref: JobRef, digest: Digest): KeyText {
  return formatKey({ kind: "job-seen", ...ref, digest });
}

export function runKey(ref: JobRef, run: number): KeyText {
  return formatKey({ kind: "job-run", ...ref, run });
}

/** Of the run that made the call. */
export function toolKey(ref: JobRef, run: number, effect: Digest): KeyText {
  return formatKey({ kind: "job-tool", ...ref, run, effect });
}
