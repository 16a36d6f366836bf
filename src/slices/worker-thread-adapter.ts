// Owns: the inside of a worker thread: its port to the node, its start data, its clock. The other side is
// thread-adapter.ts. Does not own: what a slice is (worker-runtime.ts).
import { parentPort, workerData } from "node:worker_threads";
import { present } from "../base/assert.ts";
import type { Clock } from "../env/clock.ts";
import type { HostMessage, WorkerBoot, WorkerMessage } from "./core/worker-protocol.ts";

export interface WorkerThread {
  readonly boot: WorkerBoot;
  readonly clock: Pick<Clock, "nowMs" | "defer">;
  post(messages: readonly WorkerMessage[]): void;
  onMessages(receive: (messages: readonly HostMessage[]) => void): void;
  importBundle(url: string): Promise<unknown>;
}

/** The thread this code runs in; it must have been started by thread-adapter.ts. */
export function currentThread(): WorkerThread {
  const port = present(parentPort ?? undefined, "worker-main runs in a worker thread");
  return {
    // Start data and messages come from our own node: the same release, the same process.
    boot: workerData as WorkerBoot,
    clock: { nowMs: () => performance.now(), defer: (fire) => void setImmediate(fire) },
    post: (messages) => port.postMessage(messages),
    onMessages: (receive) => port.on("message", receive),
    importBundle: (url) => import(url),
  };
}
