// Owns: every replicated command as bytes: transactions (txn.ts does those) and what concerns leases and the quota.
// Does not own: what a command does (state-machine.ts).
import { encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { GiB, HOUR_MS, MiB, SECOND_MS } from "../../base/units.ts";
import { checkLimit } from "./limits.ts";
import type { LeaseId } from "./schema.ts";
import { COMMAND_FORMAT, isNumber, malformed, parseTxnCommand, type MalformedCommand, type TxnCommand } from "./txn.ts";

export const LEASE_TTL_MS_MIN = SECOND_MS;
export const LEASE_TTL_MS_MAX = 24 * HOUR_MS;
/** Leases that one command renews or ends. */
export const LEASES_PER_COMMAND_MAX = 1_024;
export const QUOTA_BYTES_MIN = MiB;
export const QUOTA_BYTES_MAX = 1_024 * GiB;

/** A lease as somebody has seen it: it ends only if it was not renewed since. */
export interface SeenLease {
  readonly lease: LeaseId;
  readonly renewals: number;
}

export type LeaseCommand =
  | { readonly kind: "grant"; readonly ttlMs: number; readonly requests: boolean }
  | { readonly kind: "renew"; readonly leases: readonly LeaseId[] }
  | { readonly kind: "revoke"; readonly lease: LeaseId }
  | { readonly kind: "expire"; readonly leases: readonly SeenLease[] };

export interface QuotaCommand {
  readonly kind: "quota";
  readonly bytes: number;
}

export type ParsedCommand = TxnCommand | LeaseCommand | QuotaCommand | MalformedCommand;

// The second field of a command of format 2. Numbers are never used again.
const KINDS = ["txn", "grant", "renew", "revoke", "expire", "quota"] as const;

/** @throws AetherError E_INVALID when the time to live is out of range */
export function encodeGrant(ttlMs: number, requests: boolean): Uint8Array {
  if (!isTtl(ttlMs)) {
    const range = `${LEASE_TTL_MS_MIN} to ${LEASE_TTL_MS_MAX} whole milliseconds`;
    throw new AetherError("E_INVALID", `the time to live of a lease is ${ttlMs}: use ${range}`, { details: { ttlMs } });
  }
  return encode([COMMAND_FORMAT, KINDS.indexOf("grant"), ttlMs, requests]);
}

/** @throws AetherError E_TOO_LARGE */
export function encodeRenew(leases: readonly LeaseId[]): Uint8Array {
  checkLimit("leases of one renewal", LEASES_PER_COMMAND_MAX, leases.length);
  return encode([COMMAND_FORMAT, KINDS.indexOf("renew"), leases]);
}

export function encodeRevoke(lease: LeaseId): Uint8Array {
  return encode([COMMAND_FORMAT, KINDS.indexOf("revoke"), lease]);
}

/** @throws AetherError E_TOO_LARGE */
export function encodeExpire(leases: readonly SeenLease[]): Uint8Array {
  checkLimit("leases of one command", LEASES_PER_COMMAND_MAX, leases.length);
  const pairs = leases.map(({ lease, renewals }) => [lease, renewals]);
  return encode([COMMAND_FORMAT, KINDS.indexOf("expire"), pairs]);
}

/** @throws AetherError E_INVALID when the quota is out of range */
export function encodeQuota(bytes: number): Uint8Array {
  if (!isQuota(bytes)) {
    const range = `${QUOTA_BYTES_MIN} to ${QUOTA_BYTES_MAX} bytes`;
    throw new AetherError("E_INVALID", `the quota is ${bytes}: use ${range}`, { details: { bytes } });
  }
  return encode([COMMAND_FORMAT, KINDS.indexOf("quota"), bytes]);
}

/** Reads any command. Total: what is none is "malformed", alike on every replica. */
export function parseCommand(decoded: unknown): ParsedCommand {
  const list = listOf(decoded);
  const kind = list[0] === COMMAND_FORMAT ? kindOf(list[1]) : "txn";
  // Most commands: nothing of them is copied here.
  if (kind === "txn") return parseTxnCommand(decoded);
  const fields = list.slice(2);
  switch (kind) {
    case undefined:
      return malformed(`its kind is not one of 0 to ${KINDS.length - 1}`);
    case "grant":
      return readGrant(fields);
    case "renew":
      return readRenew(fields);
    case "revoke":
      return fields.length === 1 && isNumber(fields[0]) ? { kind, lease: fields[0] } : wrongFields("revoke");
    case "expire":
      return readExpire(fields);
    case "quota":
      return fields.length === 1 && isQuota(fields[0]) ? { kind, bytes: fields[0] } : wrongFields("quota");
  }
}

function kindOf(number: unknown): (typeof KINDS)[number] | undefined {
  return typeof number === "number" ? KINDS[number] : undefined;
}

function readGrant([ttlMs, requests, ...more]: readonly unknown[]): ParsedCommand {
  if (!isTtl(ttlMs) || typeof requests !== "boolean" || more.length > 0) return wrongFields("grant");
  return { kind: "grant", ttlMs, requests };
}

function readRenew([leases, ...more]: readonly unknown[]): ParsedCommand {
  if (!isShortList(leases) || more.length > 0 || !leases.every(isNumber)) return wrongFields("renew");
  return { kind: "renew", leases };
}

function readExpire([pairs, ...more]: readonly unknown[]): ParsedCommand {
  if (!isShortList(pairs) || more.length > 0) return wrongFields("expire");
  const leases: SeenLease[] = [];
  for (const pair of pairs) {
    const [lease, renewals, ...rest] = listOf(pair);
    if (!isNumber(lease) || !isCount(renewals) || rest.length > 0) return wrongFields("expire");
    leases.push({ lease, renewals });
  }
  return { kind: "expire", leases };
}

function wrongFields(kind: (typeof KINDS)[number]): MalformedCommand {
  return malformed(`the fields of a command "${kind}" have a wrong form`);
}

function isTtl(value: unknown): value is number {
  return isCount(value) && value >= LEASE_TTL_MS_MIN && value <= LEASE_TTL_MS_MAX;
}

function isQuota(value: unknown): value is number {
  return isCount(value) && value >= QUOTA_BYTES_MIN && value <= QUOTA_BYTES_MAX;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function isShortList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length >= 1 && value.length <= LEASES_PER_COMMAND_MAX;
}
