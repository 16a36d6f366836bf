// Owns: running the code of a pin against the log of a job, in a worker of its own kind: no call of a tool, step,
// model, child or timer is made, because the worker begins nothing new, nobody answers what it asks, and it has no
// fence that would let it act. Does not own: what is compared (core/worker), which code (pins.ts).
import { createDeferred } from "../../base/deferred.ts";
import { AetherError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { CallOptions } from "../../env/env.ts";
import { REPLAY_MS_MAX } from "../limits.ts";
import { readEvent } from "../core/log/upcast.ts";
import type { FromAgent, RunStart } from "../core/worker/messages.ts";
import { divergedVerdict, replayedVerdict, type ReplayVerdict } from "../core/worker/replay-verdict.ts";
import { isOfPayloads, RunPayloads, type NodePayloads } from "./run-payloads.ts";
import type { AgentWorker, AgentWorkers, LoadedJob } from "../ports.ts";

/** Replays that a node runs at once: each is a whole log in memory, twice, and their workers share the cores. */
export const REPLAYS_MAX = 4;
/** The next job of a bulk move finds the worker there; code that is not going to run stays no longer. */
export const REPLAY_WORKER_IDLE_MS = 5 * SECOND_MS;

export interface ReplaysPorts {
  /** Workers that may not act. */
  readonly workers: AgentWorkers;
  /** What the log has stored apart. */
  readonly payloads: NodePayloads;
}

export class Replays {
  private readonly clock: Pick<Clock, "setTimer">;
  private readonly ports: ReplaysPorts;
  private running = 0;

  constructor(env: { readonly clock: Pick<Clock, "setTimer"> }, ports: ReplaysPorts) {
    this.clock = env.clock;
    this.ports = ports;
  }

  /**
   * Whether the code of the pin does what the log says.
   * @throws AetherError E_OVERLOADED, E_TIMEOUT, E_NOT_FOUND, E_HANDLER and others for code that cannot be run
   */
  async replay({ view, log }: LoadedJob, pin: Digest, options: CallOptions = {}): Promise<ReplayVerdict> {
    if (this.running >= REPLAYS_MAX) {
      throw new AetherError("E_OVERLOADED", `this node replays ${this.running} logs already: ask again later, or ` +
        "another node", { details: { limit: REPLAYS_MAX }, outcome: "not-applied" });
    }
    this.running += 1;
    const stop = new AbortController();
    const limit = this.clock.setTimer(REPLAY_MS_MAX, () => stop.abort(timedOut()));
    const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
    try {
      const worker = await this.ports.workers.open(pin, { signal });
      try {
        const { row: { agent, epoch, run: jobRun }, spec: { effectUid: uid, input, inputBlob }, ref: { job } } = view;
        const apart = inputBlob === undefined ? {} : { inputBlob };
        const start: RunStart = { agent, job, uid, input, ...apart, epoch, jobRun, log, isReplayOnly: true };
        return await this.run(worker, start, signal);
      } finally {
        worker.release();
      }
    } finally {
      limit.cancel();
      this.running -= 1;
    }
  }

  private async run(worker: AgentWorker, start: RunStart, signal: AbortSignal): Promise<ReplayVerdict> {
    const said = createDeferred<Extract<FromAgent, { readonly kind: "replayed" | "diverged" }>>();
    const stop = (): void => said.reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    worker.onLost((reason) => said.reject(lost(reason)));
    const ended = new AbortController();
    const payloads = new RunPayloads({
      ...this.ports.payloads,
      run: () => run,
      say: (message) => worker.send(message),
      onStored: () => undefined,
      onFault: () => undefined,
      signal: AbortSignal.any([signal, ended.signal]),
    });
    // Whatever else it says is answered by nobody.
    const run = worker.start(start, (message) => {
      if (message.kind === "replayed" || message.kind === "diverged") said.resolve(message);
      else if (isOfPayloads(message)) payloads.hear(message);
    });
    try {
      signal.throwIfAborted();
      const message = await said.promise;
      if (message.kind === "diverged") return divergedVerdict(message.error);
      return replayedVerdict(start.log.map((bytes) => readEvent(bytes).event), message);
    } finally {
      signal.removeEventListener("abort", stop);
      ended.abort();
      payloads.close();
      worker.send({ kind: "drop", run });
    }
  }
}

function timedOut(): AetherError {
  return new AetherError("E_TIMEOUT", `the log was not replayed within ${REPLAY_MS_MAX / SECOND_MS} seconds: look ` +
    "for code that loops, or waits for something outside of job.…", { outcome: "not-applied" });
}

function lost(reason: string): AetherError {
  return new AetherError("E_HANDLER", `the log was not replayed, because the worker of the code ended: ${reason}`, {
    outcome: "not-applied",
  });
}
