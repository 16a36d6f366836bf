// Owns: the order of a store's writes. One write is under way; what comes meanwhile leaves with the next one, together
// (group commit: one fsync for all of it).
import { AetherError } from "../base/errors.ts";
import type { StoreOp } from "../env/store.ts";

interface QueuedWrite {
  readonly ops: readonly StoreOp[];
  readonly done: (failure?: Error) => void;
}

/** Calls `writeSynced` for one group of writes at a time. After a failure nothing is written any more. */
export class WriteQueue {
  private readonly writeSynced: (ops: readonly StoreOp[]) => Promise<void>;
  private waiting: QueuedWrite[] = [];
  private running: Promise<void> | undefined;
  private failure: Error | undefined;
  private isClosed = false;

  constructor(writeSynced: (ops: readonly StoreOp[]) => Promise<void>) {
    this.writeSynced = writeSynced;
  }

  write(ops: readonly StoreOp[], done: (failure?: Error) => void): void {
    if (this.isClosed) {
      queueMicrotask(() => done(new AetherError("E_UNAVAILABLE", "a write came after the store was closed")));
      return;
    }
    this.waiting.push({ ops, done });
    // The first write of an idle store starts at once, inside this call.
    this.running ??= this.run();
  }

  /** Resolves when everything written before has been answered. */
  async close(): Promise<void> {
    this.isClosed = true;
    await this.running;
  }

  private async run(): Promise<void> {
    while (this.waiting.length > 0) {
      const group = this.waiting;
      this.waiting = [];
      await this.writeGroup(group);
      for (const { done } of group) done(this.failure);
    }
    this.running = undefined;
  }

  private async writeGroup(group: readonly QueuedWrite[]): Promise<void> {
    const [first] = group;
    try {
      // An fsync that failed once may have lost anything: a later one that succeeds proves nothing.
      if (this.failure !== undefined || first === undefined) return;
      await this.writeSynced(group.length === 1 ? first.ops : group.flatMap((write) => write.ops));
    } catch (error) {
      this.failure = error instanceof Error ? error : new AetherError("E_INTERNAL", String(error));
    }
  }
}
