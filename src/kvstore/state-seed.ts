// Owns: making the first state of a new cluster from the chunks of a backup or of a node's state: what belonged to the
// processes of the old cluster is deleted, everything else stays as it was, its revisions included. Offline: no node
// runs on these stores.
// Does not own: where chunks come from (cli).
import { decode } from "../base/codec.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import type { OrderedStore, StoreOp, StorePort } from "../env/store.ts";
import { CHECKPOINT_ROW, encodeCheckpoint, NO_SLOT } from "./core/checkpoint.ts";
import { type KeyText, prefixOf } from "./core/key.ts";
import { TXN_OPS_MAX } from "./core/limits.ts";
import { SnapshotCheck, type SnapshotEnd } from "./core/snapshot-check.ts";
import { KvStateMachine } from "./core/state-machine.ts";
import { encodeTxn } from "./core/txn.ts";
import { LayeredEntries } from "./layered-entries.ts";

/**
 * Written by nodes and by the leader about processes that are gone: new ones write their own. The leader's epoch stays,
 * so that nothing from before is taken for current.
 */
const PROCESS_ROWS: readonly string[] = [
  prefixOf({ kind: "nodes" }),
  prefixOf({ kind: "slices" }),
  prefixOf({ kind: "endpoints" }),
];

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
   * @throws AetherError E_DATA_CORRUPT, E_DISK
   */
  async finish(revisionGap = 0): Promise<Seed> {
    const { end } = this.check;
    if (end === undefined) throw new AetherError("E_DATA_CORRUPT", "the backup ends before its last chunk");
    const entries = new LayeredEntries(this.store);
    const { checkpoint: old } = end;
    const machine = new KvStateMachine(entries, { ...old, revision: old.revision + revisionGap });
    const keys = await this.processRows();
    for (let at = 0; at < keys.length; at += TXN_OPS_MAX) {
      const ops = keys.slice(at, at + TXN_OPS_MAX).map((key) => ({ kind: "delete" as const, key }));
      const command = encodeTxn({ compare: [], then: ops, else: [] });
      const result = machine.apply(decode(command, command.byteLength));
      if (result.kind === "refused") throw new AetherError("E_INTERNAL", `cannot clear old rows: ${result.reason}`);
    }
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

  private async processRows(): Promise<readonly KeyText[]> {
    const keys: KeyText[] = [];
    for (const prefix of PROCESS_ROWS) {
      const from = Buffer.from(prefix);
      for await (const [key] of this.store.entries({ from, to: Buffer.concat([from, Uint8Array.from([0xff])]) })) {
        keys.push(Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString() as KeyText);
      }
    }
    return keys;
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

function changesOf(entries: LayeredEntries): readonly StoreOp[] {
  return Array.from(entries.freeze(), ([key, row]): StoreOp => {
    return row === "absent" ? { kind: "delete", key: Buffer.from(key) } : { kind: "put", ...row.row };
  });
}
