// Owns: the commands of this node from `propose` to their answer: grouped into batches, bounded, answered exactly once.
import { KiB, MiB } from "../base/units.ts";
import type { BatchKey } from "./core/message.ts";
import type { ProposeOutcome } from "./group.ts";

export const PENDING_COMMANDS_MAX = 4_096;
export const PENDING_BYTES_MAX = 32 * MiB;
/** Beyond these a batch closes although earlier ones are still under way. */
const BATCH_COMMANDS_FULL = 512;
const BATCH_BYTES_FULL = 256 * KiB;
/** A command that would take a batch beyond this starts the next one. */
const BATCH_BYTES_MAX = 1 * MiB;
/** Batches under way before the next one waits to grow: slower rounds make larger batches. */
const OPEN_BATCHES_MAX = 4;

export type ProposeCallback = (outcome: ProposeOutcome) => void;

interface OpenBatch {
  readonly commands: Uint8Array[];
  readonly callbacks: ProposeCallback[];
  bytes: number;
}

interface SentBatch {
  readonly callbacks: readonly ProposeCallback[];
  readonly bytes: number;
}

export class Batcher {
  private open: OpenBatch = newBatch();
  private readonly full: OpenBatch[] = [];
  private readonly sent = new Map<BatchKey, SentBatch>();
  private pendingBytes = 0;
  private pendingCommands = 0;

  get pending(): number {
    return this.pendingCommands;
  }

  /** False when the bound is reached: nothing was taken. */
  add(command: Uint8Array, callback: ProposeCallback): boolean {
    const isFull =
      this.pendingCommands >= PENDING_COMMANDS_MAX || this.pendingBytes + command.byteLength > PENDING_BYTES_MAX;
    if (isFull) return false;
    if (this.open.bytes + command.byteLength > BATCH_BYTES_MAX && this.open.commands.length > 0) this.closeOpen();
    this.open.commands.push(command);
    this.open.callbacks.push(callback);
    this.open.bytes += command.byteLength;
    this.pendingCommands += 1;
    this.pendingBytes += command.byteLength;
    const isWorthClosing = this.open.commands.length >= BATCH_COMMANDS_FULL || this.open.bytes >= BATCH_BYTES_FULL;
    if (isWorthClosing) this.closeOpen();
    return true;
  }

  /** The next batch that may leave now, as a MessagePack array; call until it returns undefined. */
  take(keyOf: () => BatchKey): { readonly commands: Uint8Array; readonly count: number } | undefined {
    if (this.full.length === 0) {
      if (this.open.commands.length === 0 || this.sent.size >= OPEN_BATCHES_MAX) return undefined;
      this.closeOpen();
    }
    const batch = this.full.shift();
    if (batch === undefined) return undefined;
    this.sent.set(keyOf(), { callbacks: batch.callbacks, bytes: batch.bytes });
    return { commands: encodeArray(batch.commands), count: batch.commands.length };
  }

  /** The batch ran here with these results. Not an own one: nothing happens. */
  answer(key: BatchKey, results: readonly unknown[]): boolean {
    const batch = this.sent.get(key);
    if (batch === undefined) return false;
    this.sent.delete(key);
    this.pendingCommands -= batch.callbacks.length;
    this.pendingBytes -= batch.bytes;
    batch.callbacks.forEach((callback, at) => {
      callback({ kind: "applied", result: results[at] });
    });
    return true;
  }

  /** These batches ran somewhere, and what came of them is not known here. */
  abandonWhere(hasRun: (key: BatchKey) => boolean, reason: string): void {
    for (const [key, batch] of [...this.sent]) {
      if (!hasRun(key)) continue;
      this.sent.delete(key);
      this.pendingCommands -= batch.callbacks.length;
      this.pendingBytes -= batch.bytes;
      for (const callback of batch.callbacks) callback({ kind: "unknown", reason });
    }
  }

  /** The node stops: what left may or may not be applied, the rest is not. */
  abandon(reason: string): void {
    const unsent = [...this.full.splice(0), this.open];
    this.open = newBatch();
    const sent = [...this.sent.values()];
    this.sent.clear();
    this.pendingCommands = 0;
    this.pendingBytes = 0;
    for (const batch of sent) for (const callback of batch.callbacks) callback({ kind: "unknown", reason });
    for (const batch of unsent) {
      for (const callback of batch.callbacks) callback({ kind: "refused", code: "E_UNAVAILABLE", reason });
    }
  }

  private closeOpen(): void {
    this.full.push(this.open);
    this.open = newBatch();
  }
}

function newBatch(): OpenBatch {
  return { commands: [], callbacks: [], bytes: 0 };
}

/** A MessagePack array of values that are encoded already: no command is encoded twice. */
function encodeArray(values: readonly Uint8Array[]): Uint8Array {
  const count = values.length;
  const header = count < 16 ? Buffer.of(0x90 | count) : Buffer.of(0xdc, count >> 8, count & 0xff);
  return Buffer.concat([header, ...values]);
}
