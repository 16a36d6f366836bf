// Owns: the instances that run on this node: loading, activating, calling and ending them, one worker each; and the
// start of workers for agents.
// Does not own: why they run (node deployment manager), where artifacts come from, the inside of a worker.
import { present } from "../../base/assert.ts";
import type { CancelSignal } from "../../base/cancellation.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { ArtifactId, Digest } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import type { WorkerRole } from "../../env/workers.ts";
import type { BundleFiles } from "./bundle-files-adapter.ts";
import type { InstanceLoad } from "../core/instance-load.ts";
import { planIsolation } from "../core/isolation-policy.ts";
import { RecentLines, type LinesPage, type LinesQuery, type SliceLine } from "../core/recent-lines.ts";
import type { CallMeter } from "./call-meter.ts";
import type { DeactivateLimits, HostedState, InstanceHost, InstanceSpec, MethodSpec } from "./instance-host.ts";
import type { OutgoingCalls } from "./outgoing-calls.ts";
import type { RuntimeConfig } from "./runtime-config.ts";
import type {
  HostedInstances, HostedMethod, IncomingCall, IncomingReply, InstanceKey,
} from "./running-instances.ts";
import type { SliceServices } from "../services/slice-services.ts";
import { LoadGate } from "./load-gate.ts";
import { MemoryGuard } from "./memory-guard.ts";
import { WorkerHost, type WorkerHostEnv, type WorkerHostPorts } from "./worker-host.ts";

/** Where bundles come from; verified by digest on the way. */
export interface ArtifactSource {
  fetch(
    artifact: ArtifactId, options: CallOptions,
  ): Promise<{ readonly bundle: Uint8Array; readonly digest: Digest }>;
}

export interface SliceStorePorts {
  readonly artifacts: ArtifactSource;
  readonly bundles: BundleFiles;
  readonly calls: OutgoingCalls;
  readonly services: SliceServices;
  /** Counts the calls that instances of this node handled. */
  readonly handled: CallMeter;
}

interface HostedInstance {
  readonly spec: InstanceSpec;
  state: HostedState;
  /** Aborted by `unload`, which wins over every step under way. */
  readonly unloading: AbortController;
  host: WorkerHost | undefined;
  /** Ends with the step under way, whatever comes of it. */
  settled: Promise<void>;
}

interface Opening {
  readonly role: WorkerRole;
  readonly spec: InstanceSpec;
  /** Called with the host before anything can go wrong in its worker. */
  readonly keep: (host: WorkerHost) => void;
  readonly ends: Pick<WorkerHostPorts, "onLost" | "onAgentMessage">;
  readonly fence?: SharedArrayBuffer;
  readonly cleanText?: (text: string) => string;
}

/** What a worker of agents has beside its package. */
export interface AgentsSetup {
  readonly onLost: (reason: string) => void;
  readonly onAgentMessage: (payload: unknown) => void;
  /** See `WorkerBoot`. Without one nothing of the worker acts. */
  readonly fence?: SharedArrayBuffer;
  /** Takes out of what the worker prints what nobody may read. */
  readonly cleanText: (text: string) => string;
}

export class SliceStore implements InstanceHost, HostedInstances {
  private readonly env: WorkerHostEnv;
  private readonly ports: SliceStorePorts;
  private readonly config: RuntimeConfig;
  private readonly instances = new Map<InstanceKey, HostedInstance>();
  private readonly agents = new Set<WorkerHost>();
  private readonly lostListeners: ((key: InstanceKey, reason: string) => void)[] = [];
  private readonly gate: LoadGate;
  private readonly guard: MemoryGuard;
  private readonly lines = new RecentLines((key) => this.instances.has(key));
  private isClosed = false;

  constructor(env: WorkerHostEnv, ports: SliceStorePorts, config: RuntimeConfig) {
    this.env = env;
    this.ports = ports;
    this.config = config;
    this.gate = new LoadGate(env, config);
    this.guard = new MemoryGuard(env, {
      processBytes: () => env.workers.memoryBytes(),
      workers: () => this.workers(),
    });
  }

  async load(spec: InstanceSpec, signal: AbortSignal): Promise<void> {
    if (this.isClosed) throw new AetherError("E_UNAVAILABLE", `did not load ${spec.key}: this node is stopping`);
    const hosted = this.instances.get(spec.key);
    if (hosted !== undefined) throw wrongState(spec.key, "load", hosted.state);
    const instance: HostedInstance = {
      spec,
      state: "loading",
      unloading: new AbortController(),
      host: undefined,
      settled: Promise.resolve(),
    };
    this.instances.set(spec.key, instance);
    await this.runStep(instance, signal, async (stop) => {
      await this.startWorker(instance, stop);
      advance(instance, "loading", "loaded");
    });
  }

  async activate(key: InstanceKey, signal: AbortSignal): Promise<readonly MethodSpec[]> {
    const { instance, host } = this.require(key, "activate", "loaded");
    instance.state = "activating";
    return await this.runStep(instance, signal, async (stop) => {
      const methods = await host.activate(stop);
      advance(instance, "activating", "active");
      return methods;
    });
  }

  async deactivate(key: InstanceKey, signal: AbortSignal, limits?: DeactivateLimits): Promise<void> {
    const { instance, host } = this.require(key, "deactivate", "active");
    instance.state = "deactivating";
    await this.runStep(instance, signal, async (stop) => {
      await host.deactivate(stop, limits);
      advance(instance, "deactivating", "loaded");
    });
  }

  async unload(key: InstanceKey): Promise<void> {
    const instance = this.instances.get(key);
    if (instance === undefined) return;
    instance.state = "unloading";
    instance.unloading.abort();
    instance.host?.calls.close("it is being unloaded");
    await instance.settled;
    await instance.host?.end();
    this.forget(instance);
  }

  hosted(): ReadonlyMap<InstanceKey, HostedState> {
    return new Map([...this.instances].map(([key, { state }]) => [key, state]));
  }

  onLost(listener: (key: InstanceKey, reason: string) => void): void {
    this.lostListeners.push(listener);
  }

  invoke(
    call: IncomingCall, signal?: CancelSignal, onEnd?: (end: IncomingReply) => void,
  ): Promise<IncomingReply> {
    const host = this.instances.get(call.instance)?.host;
    if (host !== undefined) return host.calls.invoke(call, signal, onEnd);
    const error = new AetherError("E_UNAVAILABLE", `${call.instance} does not run on this node`);
    return Promise.resolve(notStarted(error));
  }

  methodOf(instance: InstanceKey, method: string): HostedMethod | undefined {
    const hosted = this.instances.get(instance);
    const spec = hosted?.host?.calls.methodOf(method);
    if (hosted === undefined || spec === undefined) return undefined;
    return { slice: hosted.spec.slice, effect: spec.effect, policy: spec.policy };
  }

  inFlight(instance: InstanceKey): number {
    return this.instances.get(instance)?.host?.calls.size ?? 0;
  }

  /** How busy each instance is that has a worker now. */
  loads(): readonly InstanceLoad[] {
    return [...this.instances.values()].flatMap(({ host }) => (host?.isRunning === true ? [host.busyness] : []));
  }

  /** What the instances of a slice said here lately, also those that have ended; undefined when nothing is kept. */
  readLines(slice: string, query: LinesQuery): LinesPage | undefined {
    return this.lines.has(slice) ? this.lines.read(slice, query) : undefined;
  }

  /** Ends every worker; nothing can be loaded afterwards. Idempotent. */
  async close(): Promise<void> {
    this.isClosed = true;
    await Promise.all([
      ...[...this.instances.keys()].map((key) => this.unload(key)),
      ...[...this.agents].map((host) => this.endAgents(host)),
    ]);
  }

  /**
   * Starts a worker for the agents of a package: it is watched and guarded as one of an instance is, and its owner ends
   * it. A failure leaves no worker behind.
   */
  async startAgents(spec: InstanceSpec, agents: AgentsSetup, signal: AbortSignal): Promise<WorkerHost> {
    if (this.isClosed) throw new AetherError("E_UNAVAILABLE", `did not load ${spec.key}: this node is stopping`);
    let started: WorkerHost | undefined;
    const onLost = (reason: string): void => {
      this.forgetAgents(started);
      agents.onLost(reason);
    };
    const keep = (host: WorkerHost): void => {
      started = host;
      this.agents.add(host);
    };
    const { fence, cleanText, onAgentMessage } = agents;
    try {
      const ends = { onLost, onAgentMessage };
      const own = { cleanText, ...(fence !== undefined && { fence }) };
      return await this.openWorker({ role: "agents", spec, keep, ends, ...own }, signal);
    } catch (error) {
      this.forgetAgents(started);
      throw error;
    }
  }

  /** Ends a worker of `startAgents`. Idempotent. */
  async endAgents(host: WorkerHost): Promise<void> {
    await host.end();
    this.forgetAgents(host);
  }

  private async startWorker(instance: HostedInstance, signal: AbortSignal): Promise<void> {
    const ends = { onLost: (reason: string): void => this.lose(instance, reason) };
    const keep = (host: WorkerHost): void => void (instance.host = host);
    await this.openWorker({ role: "slice", spec: instance.spec, keep, ends }, signal);
  }

  private async openWorker(
    { role, spec, keep, ends, fence, cleanText }: Opening, signal: AbortSignal,
  ): Promise<WorkerHost> {
    const plan = planIsolation(spec);
    const { bundle, digest } = await untilAborted(this.ports.artifacts.fetch(spec.artifact, { signal }), signal);
    const url = await untilAborted(this.ports.bundles.put(bundle, digest), signal);
    const keepLine = (line: SliceLine): void => this.lines.add(spec.slice, spec.key, line);
    const { calls, services, handled } = this.ports;
    const ports = { calls, services, handled, keepLine, ...ends };
    const host = new WorkerHost(this.env, ports, {
      role, spec, plan, bundle: url, config: this.config, ...(fence !== undefined && { fence }),
      ...(cleanText !== undefined && { cleanText }),
    });
    const leave = await this.gate.enter(signal);
    try {
      keep(host);
      this.guard.start();
      await host.load(signal);
      return host;
    } finally {
      leave();
    }
  }

  /** Runs a step that `unload` can stop; when it fails the instance is gone, worker included. */
  private async runStep<T>(
    instance: HostedInstance, signal: AbortSignal, run: (stop: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const running = run(AbortSignal.any([signal, instance.unloading.signal]));
    instance.settled = running.then(() => undefined, () => undefined);
    try {
      return await running;
    } catch (thrown) {
      await instance.host?.end();
      this.forget(instance);
      const error = this.stepError(instance, signal, thrown);
      if (!instance.unloading.signal.aborted) this.keepNote(instance.spec, error.message);
      throw error;
    }
  }

  private stepError(instance: HostedInstance, signal: AbortSignal, thrown: unknown): AetherError {
    const { key } = instance.spec;
    if (instance.unloading.signal.aborted) {
      return new AetherError("E_UNAVAILABLE", `stopped working on ${key}: it was unloaded meanwhile`);
    }
    // The reason of a signal may be anything; what matters to our caller is that the limit has passed.
    if (signal.aborted && !(thrown instanceof AetherError)) {
      return new AetherError("E_TIMEOUT", `did not finish working on ${key} before its time limit`, {
        outcome: "not-applied",
        cause: thrown,
      });
    }
    return toAetherError(thrown);
  }

  private lose(instance: HostedInstance, reason: string): void {
    // A step under way, also one that only waits for calls to finish, rejects and says it there.
    if (instance.state !== "loaded" && instance.state !== "active") return;
    this.forget(instance);
    this.env.telemetry.log.warn({ event: "slice.lost", instance: instance.spec.key, reason });
    this.keepNote(instance.spec, `this instance has ended: ${reason}`);
    for (const listener of this.lostListeners) listener(instance.spec.key, reason);
  }

  /** What the node says about an instance, among what the instance says itself. */
  private keepNote({ slice, key }: InstanceSpec, text: string): void {
    this.lines.add(slice, key, { atMs: this.env.clock.wallMs(), level: "error", text });
  }

  private forget(instance: HostedInstance): void {
    // After an unload the same key may already be loaded again.
    if (this.instances.get(instance.spec.key) === instance) this.instances.delete(instance.spec.key);
    this.guardThoseLeft();
  }

  private forgetAgents(host: WorkerHost | undefined): void {
    if (host === undefined || !this.agents.delete(host)) return;
    this.guardThoseLeft();
  }

  private guardThoseLeft(): void {
    if (this.instances.size + this.agents.size === 0) this.guard.stop();
    else this.guard.start();
  }

  private *workers(): Iterable<WorkerHost> {
    for (const { host } of this.instances.values()) if (host?.isRunning === true) yield host;
    for (const host of this.agents) if (host.isRunning) yield host;
  }

  private require(key: InstanceKey, step: string, state: HostedState): { instance: HostedInstance; host: WorkerHost } {
    const instance = this.instances.get(key);
    if (instance?.state !== state) throw wrongState(key, step, instance?.state);
    return { instance, host: present(instance.host, "a loaded instance has a worker") };
  }
}

/** A step that `unload` has overtaken does not bring its state back. */
function advance(instance: HostedInstance, from: HostedState, to: HostedState): void {
  if (instance.state === from) instance.state = to;
}

/** What runs here is not what the caller took it for, perhaps because its worker has just died: worth another try. */
function wrongState(key: InstanceKey, step: string, state: HostedState | undefined): AetherError {
  return new AetherError("E_UNAVAILABLE", `cannot ${step} ${key}: on this node it is ${state ?? "not loaded"}`);
}

function notStarted(error: AetherError): IncomingReply {
  return { kind: "not-started", error: error.toBody() };
}

/** The promise, or a rejection as soon as the signal aborts: not every source listens to its signal. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw signal.reason;
  let abort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
