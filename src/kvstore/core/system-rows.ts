// Owns: the rows that the store keeps for itself, beside the keys of its users: their names and fields.
// Their names begin with a control character, which no key has, so they lie before all keys and are in no listing.
import { decode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import type { KeyText } from "./key.ts";
import type { LeaseId } from "./schema.ts";
import type { KeyRange } from "./sorted-runs.ts";

/** Before every key that there may be, and behind all rows of this file. */
export const FIRST_KEY = " " as KeyText;

/** [last lease granted, leases now] */
export const LEASES_ROW = "\u0001leases" as KeyText;
/** [bytes] */
export const QUOTA_ROW = "\u0001quota" as KeyText;

const LEASE_PREFIX = "\u0001lease/";

/** One lease. Its keys and its requests are in rows of their own: this one is written often. */
export interface LeaseRow {
  readonly ttlMs: number;
  readonly renewals: number;
  /** Whether the lease is a session. */
  readonly requests: boolean;
  /** Keys attached now. */
  readonly keys: number;
  /** Key rows there are, numbered from 0. */
  readonly slots: number;
  /** First of the key rows that hold no key, `NO_SLOT` without one. Each names the next. */
  readonly free: number;
  /** Places for requests below this number may be taken, others are not: whole pages. */
  readonly reach: number;
}

export const NO_SLOT = -1;

/** Where the rows of leases lie. */
export const LEASE_ROWS: KeyRange = { prefix: LEASE_PREFIX, from: LEASE_PREFIX as KeyText };

export function leaseRow(lease: LeaseId): KeyText {
  return `${LEASE_PREFIX}${lease}` as KeyText;
}

/** The lease whose row this is. */
export function leaseOfRow(key: KeyText): LeaseId | undefined {
  return key.startsWith(LEASE_PREFIX) ? Number(key.slice(LEASE_PREFIX.length)) : undefined;
}

/** Row of a key that is attached to the lease: its text, or the number of the next row that holds none. */
export function leaseKeyRow(lease: LeaseId, slot: number): KeyText {
  return `\u0001lease-key/${lease}/${slot}` as KeyText;
}

/** Row of a page of the requests that a session remembers. */
export function requestPageRow(session: LeaseId, page: number): KeyText {
  return `\u0001requests/${session}/${page}` as KeyText;
}

export function leaseRowFields(row: LeaseRow): readonly unknown[] {
  return [row.ttlMs, row.renewals, row.requests, row.keys, row.slots, row.free, row.reach];
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseLeaseRow(value: Uint8Array): LeaseRow {
  const [ttlMs, renewals, requests, keys, slots, free, reach] = parseRow(value);
  return {
    ttlMs: numberOf(ttlMs),
    renewals: numberOf(renewals),
    requests: requests === true,
    keys: numberOf(keys),
    slots: numberOf(slots),
    free: numberOf(free),
    reach: numberOf(reach),
  };
}

/** The fields of a row. @throws AetherError E_DATA_CORRUPT */
export function parseRow(value: Uint8Array): readonly unknown[] {
  const fields = decode(value, value.byteLength);
  if (Array.isArray(fields)) return fields;
  throw corrupt();
}

/** @throws AetherError E_DATA_CORRUPT */
export function numberOf(field: unknown): number {
  if (typeof field === "number") return field;
  throw corrupt();
}

function corrupt(): AetherError {
  const message = "one of the store's own rows is whole but not as it is written; replace this node's data";
  return new AetherError("E_DATA_CORRUPT", message, { outcome: "none" });
}
