// Ports only: no code here.
/** Limits of one worker; `heapBytesMax` ends the worker, not the process, when it is exceeded. */
export interface WorkerLimits {
  readonly heapBytesMax: number;
  readonly stackBytesMax: number;
}

export interface WorkerSpec {
  /** For logs and thread names. */
  readonly name: string;
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
}

export interface WorkersPort {
  spawn(spec: WorkerSpec, handlers: WorkerHandlers): WorkerHandle;
}
