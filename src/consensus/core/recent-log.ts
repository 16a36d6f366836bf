// Owns: the log of the slots that were applied last, in memory: who is only a little behind is answered from here.
// Does not own: older slots (journal.ts).
import { MiB } from "../../base/units.ts";
import type { LogEntry } from "./message.ts";

/** Some windows, for who was away for a moment. */
const RECENT_SLOTS_MAX = 1_024;
/** The same as bytes of their batches; what is reached first counts. */
const RECENT_BYTES_MAX = 8 * MiB;
/** Weight of an entry beside its content. */
const ENTRY_OVERHEAD_BYTES = 64;

export class RecentLog {
  /** Slots [start, end), each at its number modulo RECENT_SLOTS_MAX. */
  private readonly entries = new Array<LogEntry | undefined>(RECENT_SLOTS_MAX).fill(undefined);
  private start = 0;
  private end = 0;
  private bytes = 0;

  /** The slot that was applied now. After an installed state it need not follow the last one. */
  add(entry: LogEntry): void {
    if (entry.slot !== this.end) this.begin(entry.slot);
    if (this.end - this.start === RECENT_SLOTS_MAX) this.dropOldest();
    this.entries[entry.slot % RECENT_SLOTS_MAX] = entry;
    this.end += 1;
    this.bytes += logBytesOf(entry);
    while (this.bytes > RECENT_BYTES_MAX) this.dropOldest();
  }

  /** Slots [from, below) as far as they are here, until `bytesMax` is passed; none when `from` is not here. */
  read(from: number, bytesMax: number, below: number): readonly LogEntry[] {
    const found: LogEntry[] = [];
    let bytes = 0;
    if (from < this.start) return found;
    for (let slot = from; slot < Math.min(below, this.end) && bytes < bytesMax; slot++) {
      const entry = this.entries[slot % RECENT_SLOTS_MAX];
      if (entry === undefined) break;
      found.push(entry);
      bytes += logBytesOf(entry);
    }
    return found;
  }

  private begin(slot: number): void {
    this.entries.fill(undefined);
    this.start = slot;
    this.end = slot;
    this.bytes = 0;
  }

  private dropOldest(): void {
    const at = this.start % RECENT_SLOTS_MAX;
    const entry = this.entries[at];
    if (entry !== undefined) this.bytes -= logBytesOf(entry);
    this.entries[at] = undefined;
    this.start += 1;
  }
}

/** About how much an entry takes in an answer. */
export function logBytesOf({ contents }: LogEntry): number {
  return contents.reduce((sum, content) => sum + (content?.byteLength ?? 0), ENTRY_OVERHEAD_BYTES);
}
