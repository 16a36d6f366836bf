// Owns: what may be put into a job's inbox, and what of it wakes a job that waits. Everything that reaches a job from
// outside is an entry; only the job's owner makes events of them.
import { z } from "zod";
import { unreachable } from "../../../base/assert.ts";
import type { Digest } from "../../../base/ids.ts";
import { digestSchema, parseStored } from "../../../base/stored-row.ts";
import type { Amount } from "../budget/account.ts";
import { amountSchema } from "../budget/amounts.ts";
import type { CallName } from "../ids.ts";
import { blobRefSchema, type Apart } from "../payloads/blob.ts";
import { CANCEL_REASONS, type CancelReason, type Resolution } from "../log/event.ts";
import { callNameSchema, jobErrorSchema, type JobError } from "../rows.ts";

/** The value of `job-inbox/…/{n}`. */
export type InboxEntry =
  | ({
    readonly kind: "signal"; readonly signal: string; readonly payload: unknown; readonly principal: string;
  } & Apart)
  | { readonly kind: "timer"; readonly call: CallName }
  | {
    readonly kind: "decision";
    readonly call: CallName;
    /** Digest of what was shown to whoever decided. */
    readonly shown: Digest;
    readonly approved: boolean;
    readonly data: unknown;
    readonly principal: string;
  }
  | { readonly kind: "cancel"; readonly principal: string; readonly reason?: CancelReason }
  /** A job that was held since a restore may go on. */
  | { readonly kind: "release"; readonly principal: string }
  /** Whoever owns the job in this epoch is to hold still, so that it can be moved to another version of its code. */
  | { readonly kind: "hold"; readonly epoch: number; readonly to: string; readonly principal: string }
  | { readonly kind: "resolve"; readonly effect: Digest; readonly resolution: Resolution; readonly principal: string }
  /** The job may spend more. */
  | { readonly kind: "raise"; readonly add: Amount; readonly principal: string }
  /** `output` is encoded: code may answer more than the store's plain values are. `spent`: of what its parent gave. */
  | ({
    readonly kind: "child-completed"; readonly call: CallName; readonly output: Uint8Array; readonly spent?: Amount;
  } & Apart)
  | { readonly kind: "child-failed"; readonly call: CallName; readonly error: JobError; readonly spent?: Amount };

/** What a person says became of a call. */
export type ResolveEntry = Extract<InboxEntry, { readonly kind: "resolve" }>;

/** Entries that were not read yet, of one job. */
export const INBOX_UNREAD_MAX = 1_000;

/** Whichever child it is: a job may have more of them than it can name. */
export const CHILD_WAKE = "child";
/** What a job waits for whose budget does not suffice. */
export const BUDGET_WAKE = "budget";

/** What of `waiting.on` an entry ends; undefined for those that wake a job whatever it waits for. */
export function wakeOf(entry: InboxEntry): string | undefined {
  switch (entry.kind) {
    case "signal":
      return `signal:${entry.signal}`;
    case "timer":
      return `call:${entry.call}`;
    case "child-completed":
    case "child-failed":
      return CHILD_WAKE;
    case "decision":
      return `approval:${entry.call}`;
    case "raise":
      return BUDGET_WAKE;
    case "hold":
      // Who runs hears of it, and who does not need not.
      return "hold";
    case "cancel":
    case "release":
    case "resolve":
      return undefined;
    default:
      return unreachable(entry);
  }
}

const call = callNameSchema;
const error = jobErrorSchema;
const principal = z.string();
const blob = blobRefSchema.exactOptional();
const resolutionSchema: z.ZodType<Resolution> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("done"), result: z.unknown() }),
  z.object({ kind: z.literal("not-done") }),
  z.object({ kind: z.literal("given-up"), reason: z.string() }),
]);

const entrySchema: z.ZodType<InboxEntry> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("signal"), signal: z.string(), payload: z.unknown(), principal, blob }),
  z.object({ kind: z.literal("timer"), call }),
  z.object({
    kind: z.literal("decision"), call, shown: digestSchema, approved: z.boolean(), data: z.unknown(), principal,
  }),
  z.object({ kind: z.literal("cancel"), principal, reason: z.enum(CANCEL_REASONS).exactOptional() }),
  z.object({ kind: z.literal("release"), principal }),
  z.object({ kind: z.literal("hold"), epoch: z.int().min(0), to: z.string(), principal }),
  z.object({
    kind: z.literal("resolve"), effect: digestSchema, resolution: resolutionSchema, principal,
  }),
  z.object({ kind: z.literal("raise"), add: amountSchema, principal }),
  z.object({
    kind: z.literal("child-completed"), call, output: z.instanceof(Uint8Array), blob,
    spent: amountSchema.exactOptional(),
  }),
  z.object({ kind: z.literal("child-failed"), call, error, spent: amountSchema.exactOptional() }),
]);

/** @throws AetherError E_DATA_CORRUPT */
export function parseInboxEntry(value: unknown): InboxEntry {
  return parseStored(entrySchema, value, "an entry of a job's inbox");
}
