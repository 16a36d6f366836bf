// Owns: the inside of a worker thread: its port to the node, its start data, its clock. The other side is
// thread-adapter.ts. Does not own: what a slice is (worker-runtime.ts).
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { parentPort, workerData } from "node:worker_threads";
import { present } from "../../base/assert.ts";
import { createProcessMemory } from "../../base/process-memory-adapter.ts";
import type { Clock } from "../../env/clock.ts";
import type { MemoryReport } from "../core/memory-rule.ts";
import type { HostMessage, WorkerBoot, WorkerMessage } from "../core/worker-protocol.ts";
import { packWorkerTurn, unpackHostTurn } from "../core/worker-rows.ts";
import { threadsNowMs } from "../threads-clock-adapter.ts";
import { guardThread } from "./thread-guard-adapter.ts";
import type { GuardedThread } from "./worker-runtime.ts";

export interface WorkerThread {
  readonly boot: WorkerBoot;
  readonly clock: Omit<Clock, "sleep">;
  /** By the clock that this thread shares with its node. */
  threadsNowMs(): number;
  post(messages: readonly WorkerMessage[]): void;
  measureMemory(collect: boolean): Promise<MemoryReport>;
  guard(guarded: GuardedThread): void;
  onMessages(receive: (messages: readonly HostMessage[]) => void): void;
  importBundle(url: string): Promise<unknown>;
}

/** The thread this code runs in; it must have been started by thread-adapter.ts. */
export function currentThread(): WorkerThread {
  const port = present(parentPort ?? undefined, "worker-main runs in a worker thread");
  // Taken before a slice can see it: see `guard`.
  const post = port.postMessage.bind(port);
  const readMemory = createProcessMemory();
  return {
    // Start data and messages come from our own node: the same release, the same process.
    boot: workerData as WorkerBoot,
    clock: createClock(),
    threadsNowMs,
    post: (messages) => post(packWorkerTurn(messages)),
    measureMemory: (collect) => measureMemory(collect, readMemory),
    guard: (guarded) => guardThread(port, guarded),
    onMessages: (receive) => port.on("message", (packed) => receive(unpackHostTurn(packed))),
    importBundle: (url) => import(url),
  };
}

/** What `setTimeout` can count; anything above would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

function createClock(): Omit<Clock, "sleep"> {
  return {
    nowMs: () => performance.now(),
    wallMs: () => Date.now(),
    setTimer: (delayMs, fire) => {
      const timer = setTimeout(fire, Math.min(delayMs, DELAY_MS_MAX));
      return { cancel: () => clearTimeout(timer) };
    },
    defer: (fire) => void setImmediate(fire),
    nextTurn: (fire) => void setImmediate(fire),
  };
}

/** The engine sweeps buffers beside its work; the next collection counts what is swept. */
const SWEEP_MS = 20;

async function measureMemory(collect: boolean, readMemory: () => NodeJS.MemoryUsage): Promise<MemoryReport> {
  if (collect) {
    collectGarbage();
    await sleep(SWEEP_MS);
    collectGarbage();
  }
  const { heapUsed, heapTotal, external, arrayBuffers } = readMemory();
  // Shared buffers are only in the latter, WebAssembly only in the former.
  const externalBytes = Math.max(external, arrayBuffers);
  return { heapUsedBytes: heapUsed, heapTotalBytes: heapTotal, externalBytes, isCollected: collect };
}

/** Takes the engine's `gc`, which it gives to contexts that begin while this flag is on; nobody else gets it. */
function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  collect();
}
