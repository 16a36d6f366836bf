// Owns: what is told of how busy an instance is. Types only.

export interface InstanceLoad {
  /** `{artifact}/{index}`. */
  readonly instance: string;
  readonly slice: string;
  /** Part of the time that the event loop of its worker was busy lately; undefined where that is not known. */
  readonly loopUtilization: number | undefined;
  /** As its worker said last; undefined before it has. */
  readonly heapUsedBytes: number | undefined;
  /** What it may use. */
  readonly heapBytesMax: number;
  /** Calls that run. */
  readonly inFlight: number;
  /** Calls that wait for a place. */
  readonly queued: number;
}
