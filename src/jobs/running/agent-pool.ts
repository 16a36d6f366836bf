// Owns: the workers that run the agents of this node's jobs: one for each pin, shared by all its jobs, ended when it
// had none for a while. Does not own: the worker itself (slices), what it is told (job-run.ts).
import { AetherError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import { MINUTE_MS } from "../../base/units.ts";
import type { Clock, Timer } from "../../env/clock.ts";
import type { CallOptions } from "../../env/env.ts";
import type { SliceStore } from "../../slices/host/slice-store.ts";
import type { WorkerHost } from "../../slices/host/worker-host.ts";
import type { InstanceSpec } from "../../slices/host/instance-host.ts";
import type { PinRow } from "../core/rows.ts";
import { redactText } from "../core/tools/redact.ts";
import { readFromAgent } from "../core/worker/agent-content.ts";
import type { FromAgent, RunNumber, RunStart, SecretValues, ToAgent } from "../core/worker/messages.ts";
import type { FenceCell } from "../ownership/fence-cell.ts";
import type { Pins } from "./pins.ts";
import type { AgentWorker, AgentWorkers } from "../ports.ts";

export interface AgentPoolPorts {
  readonly pins: Pick<Pins, "read">;
  readonly slices: Pick<SliceStore, "startAgents" | "endAgents">;
  /** What workers look at before they act on the world; without one they never do. */
  readonly fence?: Pick<FenceCell, "shared">;
  /** Kept out of what workers say, wherever it goes. */
  readonly secrets: SecretValues;
}

/** Starting a worker costs some 100 ms and a heap: the next job of the agent should find it there. */
export const AGENTS_IDLE_MS = MINUTE_MS;
/** For fetching the artifact and importing its code. */
const START_MS_MAX = MINUTE_MS;

/** What the workers of a pool are for. */
export interface PoolUse {
  /** Part of the names of its workers. */
  readonly name: "agents" | "replays";
  /** How long a worker stays that nobody uses. */
  readonly idleMs: number;
}

export class AgentPool implements AgentWorkers {
  private readonly clock: Clock;
  private readonly ports: AgentPoolPorts;
  private readonly use: PoolUse;
  private readonly workers = new Map<Digest, PinWorker>();
  private isClosed = false;

  constructor(env: { readonly clock: Clock }, ports: AgentPoolPorts, use: PoolUse) {
    this.clock = env.clock;
    this.ports = ports;
    this.use = use;
  }

  async open(pin: Digest, options: CallOptions = {}): Promise<AgentWorker> {
    if (this.isClosed) throw new AetherError("E_UNAVAILABLE", "no job is run any more: this node is stopping");
    const known = this.workers.get(pin);
    const worker = known ?? new PinWorker(
      { clock: this.clock }, this.ports, { ...this.use, pin, onEnd: () => this.forget(pin, worker) },
    );
    if (known === undefined) this.workers.set(pin, worker);
    return await worker.share(options);
  }

  /** Ends all workers. Idempotent. */
  async close(): Promise<void> {
    this.isClosed = true;
    await Promise.all([...this.workers.values()].map((worker) => worker.end()));
  }

  private forget(pin: Digest, worker: PinWorker): void {
    if (this.workers.get(pin) === worker) this.workers.delete(pin);
  }
}

interface PinWorkerSetup extends PoolUse {
  readonly pin: Digest;
  readonly onEnd: () => void;
}

/** One worker, from its start to its end. */
class PinWorker {
  private readonly clock: Clock;
  private readonly ports: AgentPoolPorts;
  private readonly setup: PinWorkerSetup;
  private readonly started: Promise<WorkerHost>;
  private readonly listeners = new Map<RunNumber, (message: FromAgent) => void>();
  private readonly shares = new Set<(reason: string) => void>();
  private host: WorkerHost | undefined;
  private lastRun = 0;
  private slice = "";
  private idle: Timer | undefined;

  constructor(env: { readonly clock: Clock }, ports: AgentPoolPorts, setup: PinWorkerSetup) {
    this.clock = env.clock;
    this.ports = ports;
    this.setup = setup;
    this.started = this.start(setup.pin);
    // ignored: each of those who wait for it is told.
    this.started.catch(() => undefined);
  }

  async share({ signal }: CallOptions): Promise<AgentWorker> {
    this.idle?.cancel();
    let onLost = (_reason: string): void => undefined;
    const tell = (reason: string): void => onLost(reason);
    this.shares.add(tell);
    try {
      this.host = await this.started;
      signal?.throwIfAborted();
    } catch (error) {
      this.leave(tell);
      throw error;
    }
    return {
      slice: this.slice,
      start: (start, onMessage) => this.startRun(start, onMessage),
      send: (message) => this.send(message),
      onLost: (listener) => void (onLost = listener),
      release: () => this.leave(tell),
    };
  }

  async end(): Promise<void> {
    this.idle?.cancel();
    this.setup.onEnd();
    // ignored: a worker that never came to be has nothing to end.
    const host = await this.started.catch(() => undefined);
    if (host !== undefined) await this.ports.slices.endAgents(host);
  }

  private async start(pin: Digest): Promise<WorkerHost> {
    const limit = new AbortController();
    const timer = this.clock.setTimer(START_MS_MAX, () => limit.abort());
    try {
      const row = await this.ports.pins.read(pin, { signal: limit.signal });
      this.slice = row.slice;
      const agents = {
        ...(this.ports.fence !== undefined && { fence: this.ports.fence.shared }),
        onLost: (reason: string): void => this.lose(reason),
        onAgentMessage: (payload: unknown): void => this.hear(payload),
        cleanText: (text: string): string => redactText(text, this.ports.secrets),
      };
      return await this.ports.slices.startAgents(specOf(row, this.setup), agents, limit.signal);
    } catch (error) {
      this.setup.onEnd();
      throw error;
    } finally {
      timer.cancel();
    }
  }

  private startRun(start: RunStart, onMessage: (message: FromAgent) => void): RunNumber {
    const run = ++this.lastRun;
    this.listeners.set(run, onMessage);
    // Each event is a view of a larger buffer, all of which would go to the worker with it.
    this.post({ kind: "start", run, start: { ...start, log: start.log.map((bytes) => new Uint8Array(bytes)) } });
    return run;
  }

  private send(message: Exclude<ToAgent, { readonly kind: "start" }>): void {
    if (message.kind === "drop") this.listeners.delete(message.run);
    this.post(message);
  }

  private post(message: ToAgent): void {
    this.host?.postToAgents(message);
  }

  private hear(payload: unknown): void {
    const message = readFromAgent(payload);
    if (message === undefined) this.host?.recycle("it said what no worker of agents says");
    else this.listeners.get(message.run)?.(message);
  }

  private lose(reason: string): void {
    this.setup.onEnd();
    this.listeners.clear();
    const clean = redactText(reason, this.ports.secrets);
    for (const tell of [...this.shares]) tell(clean);
  }

  private leave(tell: (reason: string) => void): void {
    if (!this.shares.delete(tell) || this.shares.size > 0) return;
    this.idle = this.clock.setTimer(this.setup.idleMs, () => void this.end());
  }
}

function specOf(
  { artifact, slice, config, uses, heapBytesMax, variables }: PinRow, { name }: PoolUse,
): InstanceSpec {
  // Nobody calls it as a slice: how many calls it would take does not matter.
  return {
    key: `${artifact}/${name}`, slice, artifact, index: 0, config, uses, heapBytesMax, concurrency: 1, variables,
  };
}
