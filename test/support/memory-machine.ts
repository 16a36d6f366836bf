// Owns: the replicated state machine over a Map, for tests that need no disk.
import { decode } from "../../src/base/codec.ts";
import type { KeyText } from "../../src/kvstore/core/key.ts";
import { PAGE_WEIGHT_BYTES } from "../../src/kvstore/core/request-log.ts";
import { decodePage, PAGE_PLACES } from "../../src/kvstore/core/request-page.ts";
import type { KvEntry, Op, RequestRef, Txn } from "../../src/kvstore/core/schema.ts";
import { KvStateMachine, type CommandResult } from "../../src/kvstore/core/state-machine.ts";
import { ENTRY_OVERHEAD_BYTES } from "../../src/kvstore/core/state-rows.ts";
import { toKvEntry, type StoredEntry } from "../../src/kvstore/core/stored-entry.ts";
import { leaseOfRow, parseLeaseRow } from "../../src/kvstore/core/system-rows.ts";
import { encodeTxn } from "../../src/kvstore/core/txn.ts";

export class MemoryMachine {
  readonly rows = new Map<KeyText, StoredEntry>();
  readonly machine: KvStateMachine;

  constructor() {
    const { rows } = this;
    this.machine = new KvStateMachine(
      {
        read: (key) => rows.get(key),
        put: (key, entry) => rows.set(key, entry),
        remove: (key) => rows.delete(key),
      },
      { revision: 0, stateHash: 0 },
    );
  }

  apply(command: Uint8Array): CommandResult {
    return this.machine.apply(decode(command, command.byteLength));
  }

  run(then: readonly Op[], more: Partial<Txn> & { readonly request?: RequestRef } = {}): CommandResult {
    const { compare = [], else: otherwise = [], request } = more;
    return this.apply(encodeTxn({ compare, then, else: otherwise }, request));
  }

  /** The value of a key, undefined when there is none. */
  value(key: KeyText): unknown {
    const entry = this.rows.get(key);
    return entry === undefined ? undefined : toKvEntry(key, entry).value;
  }

  show(key: KeyText, entry: StoredEntry): KvEntry {
    return toKvEntry(key, entry);
  }

  /** All that two replicas compare. */
  totals(): Readonly<Record<"revision" | "stateHash" | "liveBytes" | "rows", number>> {
    const { revision, stateHash, liveBytes } = this.machine;
    return { revision, stateHash, liveBytes, rows: this.rows.size };
  }

  /** What the rows weigh, counted anew. */
  weigh(): number {
    this.machine.save();
    return [...this.rows].reduce((bytes, [key, entry]) => bytes + weightOfRow(key, entry), 0);
  }

  /** Pages of requests that sessions remember. */
  requestPages(): number {
    this.machine.save();
    return this.ownRows("requests/");
  }

  /** Rows of the store itself whose name begins so. */
  ownRows(prefix: string): number {
    return [...this.rows.keys()].filter((key) => key.startsWith(`\u0001${prefix}`)).length;
  }
}

/** Requests count by page from when their session may have them, and by what they read. */
function weightOfRow(key: KeyText, { block, value }: StoredEntry): number {
  if (key.startsWith("\u0001requests/")) {
    return decodePage(value).reduce((bytes, place) => bytes + (place?.readBytes ?? 0), 0);
  }
  const pages = leaseOfRow(key) === undefined ? 0 : parseLeaseRow(value).reach / PAGE_PLACES;
  return block.length + ENTRY_OVERHEAD_BYTES + pages * PAGE_WEIGHT_BYTES;
}
