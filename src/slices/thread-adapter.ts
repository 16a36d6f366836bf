// Owns: `WorkersPort` over worker_threads: one thread per instance, with limits, only the listed environment, and its
// output by lines. Does not own: what is said to a worker (worker-host.ts), or inside it (worker-main.ts).
import type { Readable } from "node:stream";
import { Worker } from "node:worker_threads";
import { KiB, MiB } from "../base/units.ts";
import type { WorkerExit, WorkerHandle, WorkerHandlers, WorkersPort, WorkerSpec } from "../env/workers.ts";

export interface ThreadWorkersOptions {
  /** The compiled entry of a worker; a thread cannot load TypeScript. Default: worker-main.js beside this file. */
  readonly entry?: URL;
}

/** A longer line is cut into pieces of this length. */
const LINE_LENGTH_MAX = 8 * KiB;
/** V8's own share for short-lived objects; more only delays the heap limit. */
const YOUNG_HEAP_MIB_MAX = 16;

export function createThreadWorkers(options: ThreadWorkersOptions = {}): WorkersPort {
  const entry = options.entry ?? new URL("./worker-main.js", import.meta.url);
  return { spawn: (spec, handlers) => spawnThread(entry, spec, handlers) };
}

function spawnThread(entry: URL, spec: WorkerSpec, handlers: WorkerHandlers): WorkerHandle {
  const heapMiB = spec.limits.heapBytesMax / MiB;
  const worker = new Worker(entry, {
    name: spec.name,
    workerData: spec.data,
    env: { ...spec.variables },
    // Flags of the node's own process (loaders, inspectors, test runners) are not for slices.
    execArgv: [],
    argv: [],
    stdin: false,
    stdout: true,
    stderr: true,
    resourceLimits: {
      maxOldGenerationSizeMb: heapMiB,
      maxYoungGenerationSizeMb: Math.max(1, Math.min(YOUNG_HEAP_MIB_MAX, Math.floor(heapMiB / 4))),
      stackSizeMb: spec.limits.stackBytesMax / MiB,
    },
  });
  captureLines(worker.stdout, (line) => handlers.onOutput("stdout", line));
  captureLines(worker.stderr, (line) => handlers.onOutput("stderr", line));
  watchExit(worker, handlers);
  worker.on("message", (message: unknown) => handlers.onMessage(message));
  return {
    post: (message) => worker.postMessage(message),
    terminate: () => void worker.terminate(),
  };
}

function watchExit(worker: Worker, handlers: WorkerHandlers): void {
  let crash: WorkerExit | undefined;
  // A message that cannot be read is a slice posting on our port what only its own thread has.
  worker.on("messageerror", () => handlers.onMessage(undefined));
  worker.on("error", (error: unknown) => {
    crash ??= { kind: "crashed", reason: describeCrash(error) };
  });
  worker.on("exit", (exitCode) => handlers.onExit(crash ?? { kind: "ended", exitCode }));
}

function describeCrash(error: unknown): string {
  if (!(error instanceof Error)) return `uncaught ${String(error)}`;
  return "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY"
    ? "it used more heap than heapBytesMax allows"
    : `uncaught ${error.name}: ${error.message}`;
}

/** Whole lines, never more than `LINE_LENGTH_MAX` kept waiting for their end. */
function captureLines(stream: Readable, emit: (line: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) emitPieces(line, emit);
    if (rest.length > LINE_LENGTH_MAX) {
      emitPieces(rest, emit);
      rest = "";
    }
  });
  stream.on("end", () => {
    if (rest !== "") emitPieces(rest, emit);
  });
}

function emitPieces(line: string, emit: (line: string) => void): void {
  for (let from = 0; from < Math.max(1, line.length); from += LINE_LENGTH_MAX) {
    emit(line.slice(from, from + LINE_LENGTH_MAX));
  }
}
