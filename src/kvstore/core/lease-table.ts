// Owns: leases and the keys attached to them, in the store's own rows. Does not own: the keys themselves
// (state-machine.ts), time: a lease ends by a command (lease-keeper.ts proposes it).
//
// Each attached key has a numbered row, and its entry knows the number. Rows whose key went are reused: they form a
// list that begins in the lease's row. So attaching and detaching write two small rows, however many keys there are.
import { assert } from "../../base/assert.ts";
import type { KeyText } from "./key.ts";
import type { LeaseId } from "./schema.ts";
import type { StateRows } from "./state-rows.ts";
import {
  LEASES_ROW,
  leaseKeyRow,
  leaseRow,
  leaseRowFields,
  NO_SLOT,
  numberOf,
  parseLeaseRow,
  parseRow,
  type LeaseRow,
} from "./system-rows.ts";

/** Leases of the whole cluster, sessions included. */
export const LEASES_MAX = 10_000;
/** All of them are deleted in one revision. */
export const LEASE_KEYS_MAX = 1_000;

/** Parsed rows that are kept. */
const PARSED_MAX = 1_024;

const NEW_LEASE = { renewals: 0, keys: 0, slots: 0, free: NO_SLOT, reach: 0 } as const;

export class LeaseTable {
  private readonly rows: StateRows;
  /** Rows as they are now: only this table changes them. Each request asks for the row of its session. */
  private readonly parsed = new Map<LeaseId, LeaseRow>();

  constructor(rows: StateRows) {
    this.rows = rows;
  }

  find(lease: LeaseId): LeaseRow | undefined {
    const known = this.parsed.get(lease);
    if (known !== undefined) return known;
    const value = this.rows.readOwn(leaseRow(lease));
    if (value === undefined) return undefined;
    const row = parseLeaseRow(value);
    this.keep(lease, row);
    return row;
  }

  get count(): number {
    return this.census().count;
  }

  /** The new lease, or undefined when there are too many. */
  grant(ttlMs: number, requests: boolean): LeaseId | undefined {
    const { last, count } = this.census();
    if (count >= LEASES_MAX) return undefined;
    const lease = last + 1;
    this.write(lease, { ...NEW_LEASE, ttlMs, requests });
    this.rows.writeOwn(LEASES_ROW, [lease, count + 1]);
    return lease;
  }

  /** How often it was renewed now, or undefined when it has ended. */
  renew(lease: LeaseId): number | undefined {
    const row = this.find(lease);
    if (row === undefined) return undefined;
    const renewals = row.renewals + 1;
    this.write(lease, { ...row, renewals });
    return renewals;
  }

  /** The lease is gone; its keys, and what it remembers as a session, are the caller's to delete. */
  end(lease: LeaseId, row: LeaseRow): readonly KeyText[] {
    const keys: KeyText[] = [];
    for (let slot = 0; slot < row.slots; slot++) {
      const key = this.keyAt(lease, slot);
      if (typeof key === "string") keys.push(key as KeyText);
      this.rows.removeOwn(leaseKeyRow(lease, slot));
    }
    this.rows.removeOwn(leaseRow(lease));
    this.parsed.delete(lease);
    const { last, count } = this.census();
    this.rows.writeOwn(LEASES_ROW, [last, count - 1]);
    return keys;
  }

  /** The number of the key's row. The lease is there and has room: the caller has looked. */
  attach(lease: LeaseId, key: KeyText): number {
    const row = this.find(lease);
    assert(row !== undefined, "a key is attached to a lease that exists");
    const keys = row.keys + 1;
    const slot = row.free === NO_SLOT ? row.slots : row.free;
    if (row.free === NO_SLOT) this.write(lease, { ...row, keys, slots: slot + 1 });
    else this.write(lease, { ...row, keys, free: numberOf(this.keyAt(lease, slot)) });
    this.rows.writeOwn(leaseKeyRow(lease, slot), [key]);
    return slot;
  }

  detach(lease: LeaseId, slot: number): void {
    const row = this.find(lease);
    assert(row !== undefined, "a key is attached to a lease that exists");
    this.rows.writeOwn(leaseKeyRow(lease, slot), [row.free]);
    this.write(lease, { ...row, keys: row.keys - 1, free: slot });
  }

  /** Places for requests below `reach` may be taken from now on. */
  extendReach(lease: LeaseId, row: LeaseRow, reach: number): void {
    this.write(lease, { ...row, reach });
  }

  private keyAt(lease: LeaseId, slot: number): unknown {
    const value = this.rows.readOwn(leaseKeyRow(lease, slot));
    return value === undefined ? undefined : parseRow(value)[0];
  }

  private census(): { readonly last: number; readonly count: number } {
    const value = this.rows.readOwn(LEASES_ROW);
    if (value === undefined) return { last: 0, count: 0 };
    const [last, count] = parseRow(value);
    return { last: numberOf(last), count: numberOf(count) };
  }

  private write(lease: LeaseId, row: LeaseRow): void {
    this.rows.writeOwn(leaseRow(lease), leaseRowFields(row));
    this.keep(lease, row);
  }

  private keep(lease: LeaseId, row: LeaseRow): void {
    if (this.parsed.size >= PARSED_MAX) this.parsed.clear();
    this.parsed.set(lease, row);
  }
}
