// Ports only: no code here.
import type { AsyncCloseable } from "../base/resource-stack.ts";

export interface LogRecord {
  readonly number: number;
  readonly bytes: Uint8Array;
}

/** Records of bytes on disk, numbered 1, 2, 3 … without a gap; added at the end, forgotten from the beginning. */
export interface AppendLog extends AsyncCloseable {
  /** What the last `cut` left in place of the records before `first`. */
  readonly base: Uint8Array | undefined;
  /** The oldest record that is kept; `last + 1` when there is none. */
  readonly first: number;
  /** The newest record handed over; `first - 1` when there is none. */
  readonly last: number;
  /**
   * Adds record `last + 1`, not empty, and calls `done` once it is fsynced (never synchronously). Records become
   * durable in the order of calls. A failure means nothing may be concluded about this record: the process must stop.
   */
  append(bytes: Uint8Array, done: (failure?: Error) => void): void;
  /**
   * A durable record; undefined for one that is not there or still being written.
   * @throws AetherError E_DATA_CORRUPT, E_UNAVAILABLE after close
   */
  readSync(number: number): Uint8Array | undefined;
  /**
   * Everything from `first` on, in order. For the start: before the first `append`.
   * @throws AetherError E_DATA_CORRUPT when a record is missing or damaged.
   */
  records(): AsyncIterable<LogRecord>;
  /**
   * Replaces the base and forgets the records below `firstKept`, both or neither, and calls `done` once that is durable
   * (never synchronously). Everything below `firstKept` must be durable. One cut at a time; records may be added
   * meanwhile. A failure means the same as one of `append`.
   */
  cut(firstKept: number, base: Uint8Array, done: (failure?: Error) => void): void;
}

export interface LogPort {
  /**
   * Opens or creates the log `name` of this node.
   * @throws AetherError E_DATA_LOCKED when another process has it, E_DATA_CORRUPT when it cannot be read, E_VERSION.
   */
  open(name: string): Promise<AppendLog>;
  /** Removes a closed log with everything in it: once this has resolved, or wholly not. */
  destroy(name: string): Promise<void>;
}
