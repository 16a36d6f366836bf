// Owns: ONE worker from spawn to exit: its steps (load, activate, deactivate), their limits, its messages, its end.
// Does not own: which instances run (slice-store.ts), the order of calls (instance-calls.ts).
import { unreachable } from "../../base/assert.ts";
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import { AetherError } from "../../base/errors.ts";
import type { Clock } from "../../env/clock.ts";
import type { Env } from "../../env/env.ts";
import type { WorkerExit, WorkerHandle, WorkerRole } from "../../env/workers.ts";
import type { IsolationPlan } from "../core/isolation-policy.ts";
import type { InstanceLoad } from "../core/instance-load.ts";
import { MemoryRule, type MemoryReport } from "../core/memory-rule.ts";
import type { SliceLine } from "../core/recent-lines.ts";
import { isChildReport, readWorkerTurn } from "../core/worker-content.ts";
import type { HostMessage, WorkerBoot, WorkerMessage } from "../core/worker-protocol.ts";
import { packHostTurn } from "../core/worker-rows.ts";
import { ChildProcesses } from "./child-processes.ts";
import type { CallMeter } from "./call-meter.ts";
import { InstanceCalls, type InstanceCallsPorts } from "./instance-calls.ts";
import type { DeactivateLimits, InstanceSpec, MethodSpec } from "./instance-host.ts";
import { InstanceLog } from "./instance-log.ts";
import { InstanceWatch } from "./instance-watch.ts";
import type { OutgoingCalls } from "./outgoing-calls.ts";
import type { RuntimeConfig } from "./runtime-config.ts";
import { ServiceBridge } from "../services/service-bridge.ts";
import type { SliceServices } from "../services/slice-services.ts";
import { TurnOutbox } from "../turn-outbox.ts";
import type { GuardedWorker } from "./memory-guard.ts";
import { WorkerBridge } from "./worker-bridge.ts";

export type WorkerHostEnv = Pick<Env, "clock" | "workers" | "telemetry">;

export interface WorkerHostPorts {
  readonly calls: OutgoingCalls;
  readonly services: SliceServices;
  /** Counts the calls that its instance handled. */
  readonly handled: CallMeter;
  /** Keeps a line of the instance for those who ask later. */
  readonly keepLine: (line: SliceLine) => void;
  /** The worker ended although nobody asked it to and no step was under way. Once at most. */
  onLost(reason: string): void;
  /** The agents of the worker say something; absent for a worker that has none. */
  onAgentMessage?(payload: unknown): void;
}

export interface WorkerHostSetup {
  readonly role: WorkerRole;
  readonly spec: InstanceSpec;
  readonly plan: IsolationPlan;
  /** URL of the bundle file. */
  readonly bundle: string;
  readonly config: RuntimeConfig;
  /** For agents, see `WorkerBoot`. */
  readonly fence?: SharedArrayBuffer;
  /** Takes out of what the worker prints what nobody may read. */
  readonly cleanText?: (text: string) => string;
}

type StepEnd = Extract<WorkerMessage, { readonly kind: "loaded" | "activated" | "deactivated" }>;

interface Step {
  readonly expect: StepEnd["kind"];
  readonly ended: Deferred<StepEnd>;
}

interface StepLimits {
  readonly signal: AbortSignal;
  /** A limit of its own, within that of the signal. */
  readonly timeoutMs?: number;
}

export class WorkerHost implements GuardedWorker {
  readonly calls: InstanceCalls;
  readonly heapBytesMax: number;
  private readonly clock: Clock;
  private readonly env: WorkerHostEnv;
  private readonly ports: WorkerHostPorts;
  private readonly setup: WorkerHostSetup;
  private readonly log: InstanceLog;
  private readonly outbox: TurnOutbox<HostMessage>;
  private readonly bridge: WorkerBridge;
  private readonly services: ServiceBridge;
  private readonly watch: InstanceWatch;
  private readonly children: ChildProcesses;
  private readonly memoryRule: MemoryRule;
  private readonly exited = createDeferred<void>();
  private worker: WorkerHandle | undefined;
  private exit: "none" | "asked" | "done" = "none";
  /** Why the worker was ended although nobody had asked for it. */
  private standstill: string | undefined;
  private step: Step | undefined;
  private methods: readonly MethodSpec[] = [];
  private turns = 0;
  private memory: MemoryReport | undefined;

  constructor(env: WorkerHostEnv, ports: WorkerHostPorts, setup: WorkerHostSetup) {
    const { spec, plan, config } = setup;
    const post = (message: HostMessage): void => this.post(message);
    const log = env.telemetry.log.child({ slice: spec.slice, instance: spec.key });
    this.clock = env.clock;
    this.env = env;
    this.ports = ports;
    this.setup = setup;
    this.heapBytesMax = plan.heapBytesMax;
    this.memoryRule = new MemoryRule(plan.heapBytesMax);
    this.children = new ChildProcesses(env);
    const logPorts = { log, keepLine: ports.keepLine, cleanText: setup.cleanText };
    this.log = new InstanceLog(env, logPorts, config.logLinesPerSecondMax);
    this.outbox = new TurnOutbox<HostMessage>(env.clock, (messages) => this.worker?.post(packHostTurn(messages)));
    this.bridge = new WorkerBridge({ calls: ports.calls, post }, config);
    this.services = new ServiceBridge({ services: ports.services, post }, {
      caller: { slice: spec.slice, instance: spec.key },
      outgoingCallsMax: config.outgoingCallsMax,
    });
    const onHandled: InstanceCallsPorts["onHandled"] = (method, outcome, ms) => {
      ports.handled.note(spec.slice, method, outcome, ms);
    };
    this.calls = new InstanceCalls(env, { post, onHandled }, {
      name: spec.key,
      concurrency: plan.concurrency,
      callsQueuedMax: config.callsQueuedMax,
    });
    this.watch = new InstanceWatch(env, {
      calls: this.calls, ping: () => this.ask(), onStandstill: (reason) => this.recycle(reason),
    }, config);
  }

  /** Turns of the worker in which it said something. */
  get turnsHeard(): number {
    return this.turns;
  }

  get reportedBytes(): number {
    return this.memory === undefined ? 0 : this.memory.heapTotalBytes + this.memory.externalBytes;
  }

  /** How busy its instance is. */
  get busyness(): InstanceLoad {
    const { key: instance, slice } = this.setup.spec;
    const { heapBytesMax } = this;
    const heapUsedBytes = this.memory?.heapUsedBytes;
    const loopBusyMs = this.worker?.loopBusyMs?.();
    return { instance, slice, loopBusyMs, heapUsedBytes, heapBytesMax, ...this.calls.load };
  }

  /** Whether there is a thread that nobody has asked to end. */
  get isRunning(): boolean {
    return this.worker !== undefined && this.exit === "none";
  }

  /** Asks for a sign of life and a report on memory. */
  ask(): void {
    this.post({ kind: "ping", collect: false });
  }

  /** Says something to the agents of the worker, together with everything else of this turn. */
  postToAgents(payload: unknown): void {
    this.post({ kind: "agent", payload });
  }

  /** Starts the worker and waits until it has imported the slice. A failure leaves no worker behind. */
  async load(signal: AbortSignal): Promise<void> {
    const loaded = await this.runStep("loaded", () => this.spawn(), { signal });
    if (loaded.kind === "loaded") this.methods = loaded.methods;
    // Agents run from here on; an instance does when it is active.
    if (this.setup.role === "agents") this.watch.start();
  }

  /** Runs `start(ctx)`; calls are accepted afterwards. A failure leaves no worker behind. */
  async activate(signal: AbortSignal): Promise<readonly MethodSpec[]> {
    const timeoutMs = this.setup.config.hookMsMax;
    await this.runStep("activated", () => this.post({ kind: "activate" }), { signal, timeoutMs });
    this.calls.open(this.methods);
    this.watch.start();
    return this.methods;
  }

  /** Refuses new calls, lets those in flight finish, runs `stop(ctx)`. A failure leaves no worker behind. */
  async deactivate(signal: AbortSignal, limits?: DeactivateLimits): Promise<void> {
    // From here on the limits of draining and of the hook do what the watch does.
    this.watch.stop();
    this.calls.close("it is stopping");
    const { drainMsMax } = this.setup.config;
    await this.drain(Math.min(drainMsMax, limits?.drainMsMax ?? drainMsMax), signal);
    const timeoutMs = this.setup.config.hookMsMax;
    await this.runStep("deactivated", () => this.post({ kind: "deactivate" }), { signal, timeoutMs });
  }

  /** Terminates the worker, whatever it does, and waits for its exit. Idempotent. */
  async end(): Promise<void> {
    if (this.worker === undefined) return;
    if (this.exit === "none") {
      this.exit = "asked";
      // R1: what comes from now on never reaches the worker.
      this.calls.close("its worker is being ended");
      if (this.children.size > 0) await this.children.askToEnd();
      this.worker.terminate();
    }
    await this.exited.promise;
  }

  /** Ends a worker that is at fault; the instance is lost, its callers learn it at once. */
  recycle(reason: string): void {
    if (this.exit !== "none") return;
    this.exit = "asked";
    this.standstill = reason;
    this.calls.failAll(reason);
    this.worker?.terminate();
  }

  private async runStep(expect: StepEnd["kind"], begin: () => void, limits: StepLimits): Promise<StepEnd> {
    const step: Step = { expect, ended: createDeferred<StepEnd>() };
    const expire = (): void => step.ended.reject(this.stepTimeout(expect));
    this.step = step;
    const timer = limits.timeoutMs === undefined ? undefined : this.clock.setTimer(limits.timeoutMs, expire);
    limits.signal.addEventListener("abort", expire, { once: true });
    try {
      if (limits.signal.aborted) expire();
      else if (this.exit === "none") begin();
      else step.ended.reject(this.stepCrash(expect, "its worker had ended before"));
      return await step.ended.promise;
    } catch (error) {
      await this.end();
      throw error;
    } finally {
      this.step = undefined;
      timer?.cancel();
      limits.signal.removeEventListener("abort", expire);
    }
  }

  private spawn(): void {
    const { role, spec, plan, bundle, fence } = this.setup;
    const { logLinesPerSecondMax, outgoingCallsMax } = this.setup.config;
    const boot: WorkerBoot = {
      instance: spec.key,
      slice: spec.slice,
      bundle,
      config: spec.config,
      uses: spec.uses,
      limits: { logLinesPerSecondMax, outgoingCallsMax },
      ...(fence !== undefined && { fence }),
    };
    this.worker = this.env.workers.spawn(
      { name: spec.key, role, data: boot, limits: plan.limits, variables: plan.variables },
      {
        onMessage: (received) => this.receive(received),
        onOutput: (stream, text) => this.log.write(stream === "stdout" ? "info" : "warn", text, { stream }),
        onExit: (exit) => this.receiveExit(exit),
      },
    );
  }

  private post(message: HostMessage): void {
    if (this.exit === "none") this.outbox.add(message);
  }

  private async drain(limitMs: number, signal: AbortSignal): Promise<void> {
    const drained = createDeferred<void>();
    const stopWaiting = (): void => drained.resolve();
    const timer = this.clock.setTimer(limitMs, stopWaiting);
    signal.addEventListener("abort", stopWaiting, { once: true });
    void this.calls.whenIdle().then(stopWaiting);
    if (signal.aborted) stopWaiting();
    await drained.promise;
    timer.cancel();
    signal.removeEventListener("abort", stopWaiting);
    this.calls.cancelRunning("the instance is stopping and has waited long enough");
  }

  private receive(received: unknown): void {
    // What was on its way when the worker was ended is of no interest, however much it is.
    if (this.standstill !== undefined && !isChildReport(received)) return;
    this.turns += 1;
    this.watch.noteAlive();
    const turn = readWorkerTurn(received);
    if (turn.kind === "flood") {
      return this.recycle(`it sent ${turn.count} messages at once; look for a loop that posts`);
    }
    if (turn.refused > 0) this.log.write("warn", `${turn.refused} messages of this worker are not of our protocol`);
    for (const message of turn.messages) this.receiveOne(message);
  }

  private judgeMemory(memory: MemoryReport): void {
    this.memory = memory;
    const verdict = this.memoryRule.judge(memory, this.clock.nowMs());
    switch (verdict.kind) {
      case "fine":
        return;
      case "collect":
        return this.post({ kind: "ping", collect: true });
      case "warn": {
        const { key: instance } = this.setup.spec;
        return this.env.telemetry.log.warn({ event: "slice.memory", instance, reason: verdict.reason });
      }
      case "end":
        return this.recycle(verdict.reason);
      default:
        return unreachable(verdict);
    }
  }

  private receiveOne(message: WorkerMessage): void {
    switch (message.kind) {
      case "reply":
        return this.calls.receiveReply(message.id, message.reply);
      case "outgoing":
        return this.bridge.start(message.id, message.call);
      case "outgoing-cancel":
        return this.bridge.cancel(message.id);
      case "service":
        return this.services.start(message.id, message.call);
      case "service-cancel":
        return this.services.cancel(message.id);
      case "log":
        return this.log.write(message.level, message.text, message.fields, message.trace);
      case "loaded":
      case "activated":
      case "deactivated":
        // Anything but the end of the step under way comes too late to matter.
        return void (this.step?.expect === message.kind && this.step.ended.resolve(message));
      case "step-failed":
        return this.step?.ended.reject(AetherError.fromBody(message.error));
      case "alive":
        return this.judgeMemory(message.memory);
      case "pause":
        return this.clock.nextTurn(() => this.post({ kind: "go-on" }));
      case "child-process":
        return this.children.note(message.pid, message.state);
      case "agent":
        return this.ports.onAgentMessage?.(message.payload);
      default:
        return unreachable(message);
    }
  }

  private receiveExit(exit: WorkerExit): void {
    const wasAsked = this.exit === "asked" && this.standstill === undefined;
    const reason = this.standstill ?? (wasAsked ? "its worker was ended" : describeExit(exit));
    this.exit = "done";
    this.children.killAll();
    this.watch.stop();
    this.calls.failAll(reason);
    this.bridge.cancelAll(reason);
    this.services.close(reason);
    if (this.step !== undefined) this.step.ended.reject(this.stepCrash(this.step.expect, reason));
    else if (!wasAsked) this.ports.onLost(reason);
    this.exited.resolve();
  }

  private stepTimeout(expect: StepEnd["kind"]): AetherError {
    const message =
      `${STEP_NAMES[expect]} ${this.setup.spec.key} did not end within its time limit, so its worker was ended; ` +
      "look for code that waits or loops there";
    return new AetherError("E_TIMEOUT", message, { outcome: "not-applied", details: { step: STEP_NAMES[expect] } });
  }

  private stepCrash(expect: StepEnd["kind"], reason: string): AetherError {
    const step = STEP_NAMES[expect];
    const message = `${step} ${this.setup.spec.key} failed: ${reason}`;
    return new AetherError("E_HANDLER", message, { outcome: "not-applied", details: { step, reason } });
  }
}

const STEP_NAMES = { loaded: "loading", activated: "activating", deactivated: "deactivating" } as const;

function describeExit(exit: WorkerExit): string {
  switch (exit.kind) {
    case "ended":
      return `the worker ended by itself with exit code ${exit.exitCode}`;
    case "crashed":
      return `the worker crashed: ${exit.reason}`;
    default:
      return unreachable(exit);
  }
}
