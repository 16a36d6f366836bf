// Owns: what commands know of the process that runs them.

/** A screen that a person looks at, with keys. */
export interface Terminal {
  size(): { readonly columns: number; readonly rows: number };
  write(text: string): void;
  /** Keys come one by one, Ctrl-C as one of them, until it is released: then the terminal is as it was. */
  open(onKey: (key: string) => void, onResize: () => void): () => void;
}

export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** One line on stdout: results, for people and scripts. */
  print(line: string): void;
  /** One line on stderr: progress and errors. */
  report(line: string): void;
  /** Everything from stdin, as text. */
  readInput(): Promise<string>;
  /** Only ever goes forward; not the time of day. */
  nowMs(): number;
  /** The time of day, milliseconds since 1970. */
  wallMs(): number;
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
  /** Calls back for each Ctrl-C or SIGTERM until it is released; the process does not end by itself then. */
  onInterrupt(listener: () => void): () => void;
  /** Absent where input or output is none. */
  readonly terminal?: Terminal;
  /** Ends the process at once. */
  exitNow(code: number): void;
}
