// Owns: an instance host without workers: its work takes time on the test's clock and fails where the script says so.
import { AetherError } from "../../src/base/errors.ts";
import type { Clock } from "../../src/env/clock.ts";
import type { HostedState, InstanceHost, InstanceSpec, MethodSpec } from "../../src/slices/host/instance-host.ts";
import type { InstanceKey } from "../../src/slices/host/running-instances.ts";

export type HostStep = "load" | "activate" | "deactivate" | "unload";

interface Work {
  readonly during: HostedState;
  readonly after: HostedState;
  readonly signal: AbortSignal;
}

const WORK_MS = 20;
const METHODS: readonly MethodSpec[] = [
  { method: "place", effect: "write", timeoutMs: 15_000 },
  { method: "show", effect: "read", timeoutMs: 5_000 },
];

export class ScriptedHost implements InstanceHost {
  /** Each step begun, in order: `load demo:orders:1.0.0/0`. */
  readonly steps: string[] = [];
  /** What an instance says that it offers. */
  methods = METHODS;
  private readonly clock: Clock;
  private readonly instances = new Map<InstanceKey, HostedState>();
  private readonly failures = new Map<string, AetherError | "hang">();
  private readonly listeners: ((key: InstanceKey, reason: string) => void)[] = [];

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** From now on the step fails, or hangs until it is stopped; undefined makes it work again. */
  script(step: HostStep, key: InstanceKey, outcome: AetherError | "hang" | undefined): void {
    if (outcome === undefined) this.failures.delete(`${step} ${key}`);
    else this.failures.set(`${step} ${key}`, outcome);
  }

  /** The worker dies. */
  crash(key: InstanceKey, reason = "the worker exited with code 1"): void {
    this.instances.delete(key);
    for (const listener of this.listeners) listener(key, reason);
  }

  async load(spec: InstanceSpec, signal: AbortSignal): Promise<void> {
    await this.work("load", spec.key, { during: "loading", after: "loaded", signal });
  }

  async activate(key: InstanceKey, signal: AbortSignal): Promise<readonly MethodSpec[]> {
    await this.work("activate", key, { during: "activating", after: "active", signal });
    return this.methods;
  }

  async deactivate(key: InstanceKey, signal: AbortSignal): Promise<void> {
    await this.work("deactivate", key, { during: "deactivating", after: "loaded", signal });
  }

  async unload(key: InstanceKey): Promise<void> {
    this.steps.push(`unload ${key}`);
    // Nothing stops it: it hangs for as long as the script says so.
    do await this.clock.sleep(WORK_MS); while (this.failures.get(`unload ${key}`) === "hang");
    this.instances.delete(key);
  }

  hosted(): ReadonlyMap<InstanceKey, HostedState> {
    return this.instances;
  }

  onLost(listener: (key: InstanceKey, reason: string) => void): void {
    this.listeners.push(listener);
  }

  private async work(step: HostStep, key: InstanceKey, { during, after, signal }: Work): Promise<void> {
    this.steps.push(`${step} ${key}`);
    this.instances.set(key, during);
    const failure = this.failures.get(`${step} ${key}`);
    try {
      await this.clock.sleep(failure === "hang" ? 1e9 : WORK_MS, signal);
      if (failure instanceof AetherError) throw failure;
      if (!this.instances.has(key)) throw new AetherError("E_UNAVAILABLE", "the worker died");
      this.instances.set(key, after);
    } catch (error) {
      this.instances.delete(key);
      throw error;
    }
  }
}
