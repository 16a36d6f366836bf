// Owns: ONE job that its owner runs over the real store, whose worker is the test: it says what code would say, and
// sees what the node says to it.
import { createDeferred, type Deferred } from "../../src/base/deferred.ts";
import type { Clock } from "../../src/env/clock.ts";
import type { ClusterUid } from "../../src/jobs/core/ids.ts";
import type { AgentOp, FromAgent, RunStart, ToAgent } from "../../src/jobs/core/worker/messages.ts";
import { followInbox } from "../../src/jobs/inbox/inbox-feed.ts";
import { PayloadRoom } from "../../src/jobs/payloads/payload-room.ts";
import { PayloadStore } from "../../src/jobs/payloads/payload-store.ts";
import { JobRun, type JobRunPorts, type RunEnd } from "../../src/jobs/running/job-run.ts";
import type { AgentWorker } from "../../src/jobs/ports.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { SILENT_TELEMETRY } from "./cluster-world.ts";
import { jobStore, REF } from "./job-log.ts";
import type { LocalKv } from "./local-kv.ts";

export const RUN = 1;

export type Heard = Exclude<ToAgent, { readonly kind: "start" }>;

export interface ScriptedRunOptions {
  readonly clock: Clock;
  readonly local: LocalKv;
  /** How the run sees the store; as it is when absent. */
  readonly kv?: Kv;
  readonly ports?: Partial<JobRunPorts>;
  /** What the code does at its start. */
  readonly onStart?: (run: ScriptedRun) => void;
  readonly onHeard?: (message: Heard, run: ScriptedRun) => void;
}

export class ScriptedRun {
  /** What the node has said to the worker. */
  readonly heard: Heard[] = [];
  readonly ended: Deferred<RunEnd> = createDeferred<RunEnd>();
  readonly begun: Deferred<void> = createDeferred<void>();
  private readonly run: JobRun;
  private last = 0;
  private toNode: (message: FromAgent) => void = () => undefined;
  private loseWorker: (reason: string) => void = () => undefined;

  private constructor(run: (worker: AgentWorker) => JobRun, options: ScriptedRunOptions) {
    this.run = run(this.workerFor(options));
  }

  /** Of the job of `runningJob`, from its claim on. */
  static async begin(options: ScriptedRunOptions): Promise<ScriptedRun> {
    const { clock, local, kv = local.kv, ports = {} } = options;
    const log = jobStore(clock, kv);
    const loaded = await jobStore(clock, local.kv).load(REF);
    const env = { clock, log: SILENT_TELEMETRY.log };
    const watch = { listen: () => () => undefined };
    const scripted: ScriptedRun = new ScriptedRun((worker) => new JobRun(env, {
      log,
      workers: { open: async () => worker },
      cluster: "0".repeat(32) as ClusterUid,
      ownership: { fence: { number: 1 }, whenValid: async () => undefined },
      followInbox: (ref, onArrival) => followInbox(env, { kv, watch }, ref, onArrival),
      secrets: {},
      payloads: {
        store: new PayloadStore({ clock, telemetry: SILENT_TELEMETRY }, kv),
        room: new PayloadRoom(),
        usage: () => local.kv.usage(),
      },
      children: { answer: () => Promise.reject(new RangeError("it has no children")) },
      rates: { take: () => Promise.resolve(), giveBack: () => undefined },
      places: { take: () => Promise.resolve({ free: () => undefined }) },
      models: {},
      spending: { noteEvents: () => undefined, noteAccount: () => undefined },
      onVerdict: () => undefined,
      onOutbox: () => undefined,
      onEmit: () => undefined,
      onEnd: (_run, how) => scripted.ended.resolve(how),
      ...ports,
    }, loaded), options);
    scripted.run.begin();
    await scripted.begun.promise;
    return scripted;
  }

  say(message: FromAgent): void {
    this.toNode(message);
  }

  /** Says the next operation. */
  op(op: AgentOp): void {
    this.last += 1;
    this.say({ kind: "op", run: RUN, n: this.last, op });
  }

  idle(): void {
    this.say({ kind: "idle", run: RUN, after: this.last });
  }

  heardOf<K extends Heard["kind"]>(kind: K): readonly Extract<Heard, { readonly kind: K }>[] {
    return this.heard.filter((message): message is Extract<Heard, { readonly kind: K }> => message.kind === kind);
  }

  /** The thread ends. */
  lose(reason: string): void {
    this.loseWorker(reason);
  }

  async drain(why: "node-stops" | "node-drained" = "node-stops"): Promise<void> {
    await this.run.drain(why);
  }

  close(): void {
    this.run.drop("fenced");
  }

  private workerFor({ onStart, onHeard }: ScriptedRunOptions): AgentWorker {
    return {
      slice: "scripted",
      start: (_start: RunStart, onMessage) => {
        this.toNode = onMessage;
        queueMicrotask(() => {
          onStart?.(this);
          this.begun.resolve();
        });
        return RUN;
      },
      send: (message) => {
        this.heard.push(message);
        onHeard?.(message, this);
      },
      onLost: (listener) => void (this.loseWorker = listener),
      release: () => undefined,
    };
  }
}
