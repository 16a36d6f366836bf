// Owns: making the first state of a new cluster from the chunks of a backup or of a node's state: what belonged to the
// processes of the old cluster is deleted, what others have a rule for becomes as it says, everything else stays as it
// was, its revisions included. Offline: no node runs on these stores.
// Does not own: where chunks come from (cli), rules for rows of which the store knows nothing.
import { decode } from "../base/codec.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import type { OrderedStore, StoreOp, StorePort } from "../env/store.ts";
import { CHECKPOINT_ROW, encodeCheckpoint, NO_SLOT } from "./core/checkpoint.ts";
import { type KeyText, prefixOf } from "./core/key.ts";
import type { KvEntry, Op } from "./core/schema.ts";
import { SnapshotCheck, type SnapshotEnd } from "./core/snapshot-check.ts";
import { KvStateMachine } from "./core/state-machine.ts";
import { toKvEntry } from "./core/stored-entry.ts";
import { encodeTxn } from "./core/txn.ts";
import { LayeredEntries } from "./layered-entries.ts";

/** What becomes of a row. */
export type RowFate =
  | { readonly kind: "keep" }
  | { readonly kind: "delete" }
  | { readonly kind: "put"; readonly value: unknown };

/**
 * What becomes of the rows whose keys begin with `prefix`. A rule knows nothing but rows: every first voter applies it,
 * and all have to come to the same state.
 */
export interface SeedRule {
  readonly prefix: string;
  /** `read` gives the value of another row, undefined when there is none. */
  fateOf(row: KvEntry, read: (key: KeyText) => unknown): RowFate;
}

/** The rows are not taken over. */
export function leaveOut(prefix: string): SeedRule {
  return { prefix, fateOf: () => ({ kind: "delete" }) };
}

/**
 * Written by nodes and by the leader about processes that are gone: new ones write their own. The leader's epoch stays,
 * so that nothing from before is taken for current.
 */
const PROCESS_RULES: readonly SeedRule[] = [
  leaveOut(prefixOf({ kind: "nodes" })),
  leaveOut(prefixOf({ kind: "slices" })),
  leaveOut(prefixOf({ kind: "endpoints" })),
];
/** Of one transaction: rows are some KiB at most, so that it stays well below its limit in bytes. */
const CHANGES_MAX = 32;
/** Changes that are held in memory before they are written. */
const HELD_BYTES_MAX = 8 * MiB;

export interface Seed {
  /** Of the backup, and of the new state: some later. */
  readonly backupRevision: number;
  readonly revision: number;
  readonly rows: number;
  /** All first voters must have been given the same one. */
  readonly digest: string;
}

export class StateSeed {
  private readonly store: OrderedStore;
  private readonly cluster: string;
  private readonly check = new SnapshotCheck();

  /** @throws AetherError E_CONFLICT when these stores have something already, E_DATA_LOCKED */
  static async open(stores: StorePort, cluster: string): Promise<StateSeed> {
    const used = (await stores.list()).filter((name) => /^(?:kv|wal|log|journal|history)\b/.test(name));
    if (used.length > 0) {
      const message = `the data directory is not empty (it has ${used.join(", ")}): restore into a new directory`;
      throw new AetherError("E_CONFLICT", message, { outcome: "not-applied" });
    }
    return new StateSeed(await stores.open("kv"), cluster);
  }

  private constructor(store: OrderedStore, cluster: string) {
    this.store = store;
    this.cluster = cluster;
  }

  get rows(): number {
    return this.check.rows;
  }

  /** Over all chunks; undefined before the last one. */
  get digest(): string | undefined {
    return this.check.end?.digest;
  }

  /** Takes the next chunk. @throws AetherError E_DATA_CORRUPT, E_VERSION, E_DISK */
  async take(chunk: Uint8Array): Promise<void> {
    const rows = this.check.take(chunk);
    await this.write(rows.map(([key, value]): StoreOp => ({ kind: "put", key, value })));
  }

  /**
   * After the last chunk: from now on the stores hold a state. So many revisions are left out before its next one.
   * Each row is of one rule at most.
   * @throws AetherError E_DATA_CORRUPT, E_DISK
   */
  async finish(revisionGap = 0, rules: readonly SeedRule[] = []): Promise<Seed> {
    const { end } = this.check;
    if (end === undefined) throw new AetherError("E_DATA_CORRUPT", "the backup ends before its last chunk");
    const entries = new LayeredEntries(this.store);
    const { checkpoint: old } = end;
    const machine = new KvStateMachine(entries, { ...old, revision: old.revision + revisionGap });
    // What goes makes room for what changes.
    for (const rule of [...PROCESS_RULES, ...rules]) await this.applyRule(rule, machine, entries);
    // First the record: making it puts what the machine holds back into the entries.
    const record = this.record(machine, end);
    await this.write([...changesOf(entries), { kind: "put", key: CHECKPOINT_ROW, value: record }]);
    const { digest, rows, checkpoint } = end;
    return { backupRevision: checkpoint.revision, revision: machine.revision, rows, digest };
  }

  async close(): Promise<void> {
    await this.store.close();
  }

  private record(machine: KvStateMachine, end: SnapshotEnd): Uint8Array {
    return encodeCheckpoint({
      cluster: this.cluster,
      revision: machine.revision,
      stateHash: machine.stateHash,
      slot: NO_SLOT,
      // The log of the new cluster is empty.
      mark: new Uint8Array(0),
      machine: machine.save(),
      seedDigest: end.digest,
    });
  }

  private async applyRule(rule: SeedRule, machine: KvStateMachine, entries: LayeredEntries): Promise<void> {
    const from = Buffer.from(rule.prefix);
    const read = (key: KeyText): unknown => entryOf(entries, key)?.value;
    let ops: Op[] = [];
    for await (const [bytes] of this.store.entries({ from, to: Buffer.concat([from, Uint8Array.from([0xff])]) })) {
      const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString() as KeyText;
      const row = entryOf(entries, key);
      const fate = row === undefined ? KEEP : rule.fateOf(row, read);
      if (fate.kind === "delete") ops.push({ kind: "delete", key });
      if (fate.kind === "put") ops.push({ kind: "put", key, value: fate.value });
      if (ops.length < CHANGES_MAX) continue;
      change(machine, ops);
      ops = [];
      if (entries.changedBytes < HELD_BYTES_MAX) continue;
      await this.write(changesOf(entries));
      entries.thaw();
    }
    if (ops.length > 0) change(machine, ops);
  }

  private write(ops: readonly StoreOp[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.store.write(ops, (failure) => {
        if (failure === undefined) resolve();
        else reject(new AetherError("E_DISK", `cannot write the restored state: ${toAetherError(failure).message}`));
      });
    });
  }
}

const KEEP: RowFate = { kind: "keep" };

function entryOf(entries: LayeredEntries, key: KeyText): KvEntry | undefined {
  const entry = entries.read(key);
  return entry === undefined ? undefined : toKvEntry(key, entry);
}

function change(machine: KvStateMachine, then: readonly Op[]): void {
  const command = encodeTxn({ compare: [], then, else: [] });
  const result = machine.apply(decode(command, command.byteLength));
  if (result.kind === "refused") throw new AetherError("E_INTERNAL", `cannot change old rows: ${result.reason}`);
}

function changesOf(entries: LayeredEntries): readonly StoreOp[] {
  return Array.from(entries.freeze(), ([key, row]): StoreOp => {
    return row === "absent" ? { kind: "delete", key: Buffer.from(key) } : { kind: "put", ...row.row };
  });
}
