// Owns: the order of a store's writes. One write is under way; what comes meanwhile leaves with the next one, together
// (group commit: one fsync for all of it).
import { AetherError } from "../base/errors.ts";
import type { StoreOp } from "../env/store.ts";

interface QueuedWrite {
  /** Operations, which share a group with others, or a batch that was put together before and is written alone. */
  readonly content: readonly StoreOp[] | PreparedWrite;
  readonly done: (failure?: Error) => void;
}

/** Writes and fsyncs what its maker has put together. */
export type PreparedWrite = () => Promise<void>;

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

  write(content: readonly StoreOp[] | PreparedWrite, done: (failure?: Error) => void): void {
    if (this.isClosed) {
      queueMicrotask(() => done(new AetherError("E_UNAVAILABLE", "a write came after the store was closed")));
      return;
    }
    this.waiting.push({ content, done });
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
      const group = this.takeGroup();
      await this.writeGroup(group);
      for (const { done } of group) done(this.failure);
    }
    this.running = undefined;
  }

  /** Writes keep their order: a prepared one ends the group before it. */
  private takeGroup(): readonly QueuedWrite[] {
    const prepared = this.waiting.findIndex(({ content }) => typeof content === "function");
    return this.waiting.splice(0, prepared === -1 ? this.waiting.length : Math.max(prepared, 1));
  }

  private async writeGroup(group: readonly QueuedWrite[]): Promise<void> {
    const [first] = group;
    try {
      // An fsync that failed once may have lost anything: a later one that succeeds proves nothing.
      if (this.failure !== undefined || first === undefined) return;
      const { content } = first;
      if (typeof content === "function") await content();
      else await this.writeSynced(group.length === 1 ? content : group.flatMap(operationsOf));
    } catch (error) {
      this.failure = error instanceof Error ? error : new AetherError("E_INTERNAL", String(error));
    }
  }
}

function operationsOf({ content }: QueuedWrite): readonly StoreOp[] {
  return typeof content === "function" ? [] : content;
}
