// Owns: writing the chunks of a snapshot into a new generation beside the state, and handing it over when it is whole.
// Does not own: when the state is switched (kv-state.ts), where chunks come from.
import { assert, present } from "../base/assert.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import type { OrderedStore, StoreOp } from "../env/store.ts";
import type { ConsensusMark, InstalledSnapshot, SnapshotWriter } from "../consensus/state-machine.ts";
import { CHECKPOINT_ROW, type Checkpoint, refuseForeign } from "./core/checkpoint.ts";
import { SnapshotCheck } from "./core/snapshot-check.ts";
import type { Generation, KvGenerations } from "./kv-generations.ts";

export interface SnapshotWriterOwner {
  readonly generations: KvGenerations;
  readonly cluster: string;
  /** From here on no checkpoint may be written. */
  onFinishing(): void;
  /** The generation is complete: it becomes the state. */
  onInstall(generation: Generation, checkpoint: Checkpoint): void;
  /** The last call: nothing more comes of this writer. */
  onEnd(): void;
}

export class KvSnapshotWriter implements SnapshotWriter {
  private readonly owner: SnapshotWriterOwner;
  private readonly check = new SnapshotCheck();
  private readonly created: Promise<Generation>;
  /** Ends when everything given so far is on disk. */
  private written: Promise<void>;
  private finished: Generation | undefined;
  /** The checkpoint record may be on disk. */
  private mayCount = false;
  private isEnded = false;
  private aborting: Promise<void> | undefined;

  constructor(owner: SnapshotWriterOwner) {
    this.owner = owner;
    this.created = owner.generations.create();
    this.written = this.created.then(() => undefined);
    // ignored: whoever writes next hears of it
    this.written.catch(() => undefined);
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.refuseWhenEnded();
    const rows = this.check.take(chunk);
    const { end } = this.check;
    if (end !== undefined) refuseForeign(end.checkpoint, this.owner.cluster);
    const { created, written: before } = this;
    this.written = created.then(async ({ store }) => {
      const ops = rows.map(([key, value]): StoreOp => ({ kind: "put", key, value }));
      // Handed over before those before are durable: the store keeps the order and shares their fsync.
      const own = writeTo(store, ops);
      await Promise.all([before, own]);
    });
    await this.written;
  }

  async finish(): Promise<InstalledSnapshot> {
    this.refuseWhenEnded();
    const { end } = this.check;
    if (end === undefined) {
      throw new AetherError("E_DATA_CORRUPT", "a snapshot ends before its last chunk: fetch it again");
    }
    this.owner.onFinishing();
    await this.written;
    const generation = await this.created;
    this.refuseWhenEnded();
    this.mayCount = true;
    await writeTo(generation.store, [{ kind: "put", key: CHECKPOINT_ROW, value: end.checkpointRow }]);
    this.refuseWhenEnded();
    this.finished = generation;
    const { slot, mark } = end.checkpoint;
    return { generation: generation.number, appliedSlots: slot + 1, mark };
  }

  install(): ConsensusMark {
    assert(!this.isEnded, "a snapshot is installed once, and not after it was given up");
    const generation = present(this.finished, "a snapshot is installed after it is finished");
    const { checkpoint } = present(this.check.end, "a finished snapshot has an end");
    this.isEnded = true;
    this.owner.onInstall(generation, checkpoint);
    this.owner.onEnd();
    return checkpoint.mark;
  }

  abort(): Promise<void> {
    if (!this.isEnded) {
      this.isEnded = true;
      this.aborting = this.discard();
    }
    return this.aborting ?? Promise.resolve();
  }

  /** What never counted and cannot be removed now is removed at the next start. */
  private async discard(): Promise<void> {
    try {
      await this.owner.generations.remove(await this.created);
    } catch (error) {
      // A start would find it: checkpoints stay forbidden, so that the log still reaches it.
      if (this.mayCount) throw diskError(toAetherError(error));
    }
    this.owner.onEnd();
  }

  private refuseWhenEnded(): void {
    if (this.isEnded) throw new AetherError("E_UNAVAILABLE", "this installation of a snapshot was given up");
  }
}

function writeTo(store: OrderedStore, ops: readonly StoreOp[]): Promise<void> {
  return new Promise((resolve, reject) => {
    store.write(ops, (failure) => {
      if (failure === undefined) resolve();
      else reject(diskError(failure));
    });
  });
}

function diskError(cause: Error): AetherError {
  const { code } = toAetherError(cause);
  if (code === "E_UNAVAILABLE") return toAetherError(cause);
  const message = `cannot write a snapshot: ${cause.message}; check the disk, then start the node again`;
  return new AetherError("E_DISK", message, { cause });
}
