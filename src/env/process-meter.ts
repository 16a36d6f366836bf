// Ports only: no code here. The real one is metrics/process-meter-adapter.ts.
/** What the process has used, and what it uses now. */
export interface ProcessReading {
  /** CPU time since the process began, of all its threads, in milliseconds. */
  readonly cpuMs: number;
  /** Time since then in which the event loop of the node's own thread was busy. */
  readonly loopBusyMs: number;
  /** The longest that something ready to run waited for the event loop since the last reading. */
  readonly loopDelayMsMax: number;
  readonly heapUsedBytes: number;
  /** Of the whole process. */
  readonly rssBytes: number;
  /** Of the disk of the node's data; undefined while that is not known. */
  readonly disk: DiskRoom | undefined;
}

export interface DiskRoom {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export interface ProcessMeter {
  read(): ProcessReading;
}
