// Owns: what is told of how busy an instance is. Types only.

export interface InstanceLoad {
  /** `{artifact}/{index}`. */
  readonly instance: string;
  readonly slice: string;
  /** Time in which the event loop of its worker was busy since that began; undefined where nobody can say. */
  readonly loopBusyMs: number | undefined;
  /** As its worker said last; undefined before it has. */
  readonly heapUsedBytes: number | undefined;
  /** What it may use. */
  readonly heapBytesMax: number;
  /** Calls that run. */
  readonly inFlight: number;
  /** Calls that wait for a place. */
  readonly queued: number;
}
