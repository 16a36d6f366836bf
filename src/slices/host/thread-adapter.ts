// Owns: `WorkersPort` over worker_threads: one thread per worker, with limits, only the listed environment, and its
// output by lines. Does not own: what is said to a worker (worker-host.ts), or inside it (worker-main.ts).
import type { Readable } from "node:stream";
import { Worker } from "node:worker_threads";
import { AGENT_WORKER, SLICE_WORKER } from "../../base/package-files-adapter.ts";
import { createProcessMemory } from "../../base/process-memory-adapter.ts";
import { KiB, MiB } from "../../base/units.ts";
import type { WorkerExit, WorkerHandle, WorkerHandlers, WorkersPort, WorkerSpec } from "../../env/workers.ts";
import { describeThrown } from "../core/thrown-text.ts";
import { threadsNowMs } from "../threads-clock-adapter.ts";
import { signalChild } from "./child-process-adapter.ts";

const ENTRIES = { slice: SLICE_WORKER, agents: AGENT_WORKER };
/** A longer line is cut into pieces of this length. */
const LINE_LENGTH_MAX = 8 * KiB;
/** Of one piece of output; a worker of ours sends less, the rest of a longer one is not read. */
const PIECE_LENGTH_MAX = 1 * MiB;

export function createThreadWorkers(): WorkersPort {
  const readMemory = createProcessMemory();
  return {
    memoryBytes: () => {
      const { rss, heapTotal, external } = readMemory();
      return Math.max(0, rss - heapTotal - external);
    },
    threadsNowMs,
    signalChild,
    spawn: (spec, handlers) => spawnThread(ENTRIES[spec.role], spec, handlers),
  };
}

function spawnThread(entry: URL, spec: WorkerSpec, handlers: WorkerHandlers): WorkerHandle {
  const { heapBytesMax, youngHeapBytesMax, stackBytesMax } = spec.limits;
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
      maxOldGenerationSizeMb: heapBytesMax / MiB,
      maxYoungGenerationSizeMb: youngHeapBytesMax / MiB,
      stackSizeMb: stackBytesMax / MiB,
    },
  });
  captureLines(worker.stdout, (line) => handlers.onOutput("stdout", line));
  captureLines(worker.stderr, (line) => handlers.onOutput("stderr", line));
  watchExit(worker, handlers);
  worker.on("message", (message: unknown) => handlers.onMessage(message));
  return {
    post: (message) => worker.postMessage(message),
    terminate: () => void worker.terminate(),
    loopBusyMs: () => worker.performance.eventLoopUtilization().active,
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
  if (error instanceof Error && "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY") {
    return "it used more heap than heapBytesMax allows";
  }
  const { name, message } = describeThrown(error);
  return `uncaught ${name}: ${message}`;
}

/** Whole lines, never more than `LINE_LENGTH_MAX` kept waiting for their end. */
function captureLines(stream: Readable, emit: (line: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (text: string) => {
    const lines = (rest + text.slice(0, PIECE_LENGTH_MAX)).split("\n");
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
