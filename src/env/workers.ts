// Ports only: no code here.
/** Limits of one worker. */
export interface WorkerLimits {
  /**
   * The worker ends when its heap has grown to this. A single allocation that goes far beyond it may end the process,
   * so it is to be above what the worker is allowed to use.
   */
  readonly heapBytesMax: number;
  readonly youngHeapBytesMax: number;
  readonly stackBytesMax: number;
}

/** `slice`: one instance of a slice; `agents`: the agents of a package, whose jobs share the worker. */
export type WorkerRole = "slice" | "agents";

export interface WorkerSpec {
  /** For logs and thread names. */
  readonly name: string;
  readonly role: WorkerRole;
  /** Given to the worker's main as its start data (structured clone). */
  readonly data: unknown;
  readonly limits: WorkerLimits;
  /** The only environment variables the worker sees. */
  readonly variables: Readonly<Record<string, string>>;
}

export type WorkerExit =
  { readonly kind: "ended"; readonly exitCode: number } | { readonly kind: "crashed"; readonly reason: string };

export interface WorkerHandlers {
  onMessage(message: unknown): void;
  onOutput(stream: "stdout" | "stderr", text: string): void;
  /** Exactly once, last. */
  onExit(exit: WorkerExit): void;
}

export interface WorkerHandle {
  post(message: unknown): void;
  /** Stops the thread wherever it is; `onExit` follows. */
  terminate(): void;
  /** Time in which its event loop was busy since it began; undefined where nobody can say. */
  loopBusyMs?(): number;
}

/** `SIGTERM` asks a process to end, `SIGKILL` ends it. */
export type ChildSignal = "SIGTERM" | "SIGKILL";

export interface WorkersPort {
  /**
   * Bytes that the process uses for its workers and for what nobody accounts for: what its own thread uses for its heap
   * and buffers is not counted.
   */
  memoryBytes(): number;
  /** Monotonic milliseconds by a clock that all threads of the process share, unlike `Clock.nowMs`. */
  threadsNowMs(): number;
  spawn(spec: WorkerSpec, handlers: WorkerHandlers): WorkerHandle;
  /** Sends a signal to a process that a worker has started; to no other one. */
  signalChild(pid: number, signal: ChildSignal): void;
}
