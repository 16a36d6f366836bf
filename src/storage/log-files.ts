// Ports only: the files of one log. Real ones are in log-files-adapter.ts, those of the simulator in testkit/sim.

export interface LogFile {
  /**
   * Writes at this place, and calls `done` once it is on the disk (never synchronously). Only whole sectors are
   * written; one write at a time. A write beyond the end makes the file longer.
   */
  write(bytes: Buffer, at: number, done: (failure?: Error) => void): void;
  /** Fills `bytes` from this place on; tells how many there were. */
  readSync(bytes: Buffer, at: number): number;
  /** Not while a write is under way. */
  close(): Promise<void>;
}

export interface LogFiles {
  /** For messages. */
  pathOf(name: string): string;
  /** What is there, and stays there. */
  list(): Promise<readonly string[]>;
  read(name: string): Promise<Buffer>;
  /** A new one is empty, whatever had its name; its name is not safe before it is renamed. */
  open(name: string, mode: "existing" | "new"): Promise<LogFile>;
  /** Durable once it resolves, as is all that was written to the file. */
  rename(from: string, to: string): Promise<void>;
  /** It may come back after a power cut. */
  remove(name: string): Promise<void>;
  /** Runs `fire` after this turn. */
  defer(fire: () => void): void;
}
