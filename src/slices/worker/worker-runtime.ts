// Owns: one slice inside its worker: loading it, its hooks, its handlers. Speaks worker-protocol.ts with the node.
// Does not own: the thread, timers, limits (worker-host.ts enforces them from outside, where a loop cannot stop them).
import { setMaxListeners } from "node:events";
import { present, unreachable } from "../../base/assert.ts";
import { Cancellation } from "../../base/cancellation.ts";
import { AetherError, type ErrorBody } from "../../base/errors.ts";
import type { Clock } from "../../env/clock.ts";
import type { LeaseOptions, SliceLease, StateCallOptions } from "../../sdk/slice-state.ts";
import { LineBudget } from "../core/line-budget.ts";
import type { MemoryReport } from "../core/memory-rule.ts";
import { CALL_BYTES_MAX, toPlain } from "../core/plain-data.ts";
import { describeThrown, stackOf, type ThrownText } from "../core/thrown-text.ts";
import type { HandlerCall, HostMessage, WorkerBoot, WorkerMessage } from "../core/worker-protocol.ts";
import type { IncomingReply } from "../host/running-instances.ts";
import { checkValue, encodeForWire } from "../schema-check.ts";
import { parseSliceModule, type Hook, type MethodModule, type SliceModule } from "./slice-module.ts";
import { TurnOutbox } from "../turn-outbox.ts";
import { ServiceClient } from "./service-client.ts";
import { WorkerKv } from "./slice-kv.ts";
import { WorkerLeases } from "./slice-leases.ts";
import { publish, type TopicShape } from "./slice-topics.ts";
import { WorkerAgents, type CallIdentity } from "./slice-agents.ts";
import { WorkerLog } from "./worker-log.ts";
import { WorkerOutgoing, type Callee, type CallerScope } from "./worker-outgoing.ts";

export interface WorkerRuntimePorts {
  readonly clock: Pick<Clock, "nowMs" | "defer">;
  post(messages: readonly WorkerMessage[]): void;
  /** What this thread uses; with `collect` once all garbage is collected. */
  measureMemory(collect: boolean): Promise<MemoryReport>;
  /** Keeps what the slice may do to its thread from harming the node, before any code of the slice runs. */
  guard(guarded: GuardedThread): void;
  /** Imports a module by its URL. */
  importBundle(url: string): Promise<unknown>;
}

/** What runs in a worker beside the slice's handlers. */
export interface RuntimeExtension {
  /** Called once, with the default export of the bundle. @throws AetherError E_INVALID */
  load(slice: unknown): void;
  /** What the node says to it. */
  receive(payload: unknown): void;
}

/** Makes the extension; `post` tells the node. */
export type OpenExtension = (post: (payload: unknown) => void) => RuntimeExtension;

export interface GuardedThread {
  /** Whether so many lines of output may leave the thread now. */
  takeLines(lines: number): boolean;
  /** Counts lines that were left out for another reason. */
  noteLeftOut(lines: number): void;
  /** Tells the node of a process that ends with the worker. */
  noteChild(pid: number, state: "started" | "ended"): void;
  /** Tells the author of the slice, once, what was prevented. */
  warn(text: string): void;
}

interface LoadedSlice {
  readonly module: SliceModule;
  readonly config: unknown;
  readonly outgoing: WorkerOutgoing;
}

export class WorkerRuntime {
  private readonly boot: WorkerBoot;
  private readonly ports: WorkerRuntimePorts;
  private readonly outbox: TurnOutbox<WorkerMessage>;
  private readonly lines: LineBudget;
  private readonly log: WorkerLog;
  private readonly services: ServiceClient;
  private readonly leases: WorkerLeases;
  private readonly running = new Map<number, Cancellation>();
  private readonly extension: RuntimeExtension | undefined;
  private loaded: LoadedSlice | undefined;
  /** Aborted when the instance is deactivated: what `start` left running hangs on it. */
  private activity = new Cancellation();

  constructor(boot: WorkerBoot, ports: WorkerRuntimePorts, openExtension?: OpenExtension) {
    this.boot = boot;
    this.ports = ports;
    this.outbox = new TurnOutbox<WorkerMessage>(ports.clock, (messages) => ports.post(messages), { kind: "pause" });
    this.lines = new LineBudget(boot.limits.logLinesPerSecondMax);
    this.services = new ServiceClient(this.outbox, boot.limits);
    this.leases = new WorkerLeases(this.services);
    this.log = new WorkerLog({ clock: ports.clock, outbox: this.outbox, lines: this.lines });
    this.extension = openExtension?.((payload) => this.outbox.add({ kind: "agent", payload }));
    ports.guard({
      takeLines: (lines) => this.takeLines(lines),
      noteLeftOut: (lines) => this.lines.noteLeftOut(lines),
      // At once: the thread may be ended before its turn is over.
      noteChild: (pid, state) => ports.post([{ kind: "child-process", pid, state }]),
      warn: (text) => this.log.warn(text),
    });
  }

  async load(): Promise<void> {
    await this.step("import", async () => {
      const module = parseSliceModule(await this.ports.importBundle(this.boot.bundle));
      this.requireName(module);
      const config = await this.parseConfig(module);
      const outgoing = new WorkerOutgoing(this.outbox, this.resolveCallees(module), this.boot.limits);
      this.loaded = { module, config, outgoing };
      this.extension?.load(module.exported);
      return { kind: "loaded", methods: [...module.contract.methods.values()].map(({ spec }) => spec) };
    });
  }

  /** Handles the messages of one turn of the node. */
  receive(messages: readonly HostMessage[]): void {
    for (const message of messages) this.receiveOne(message);
  }

  private receiveOne(message: HostMessage): void {
    switch (message.kind) {
      case "activate":
        return void this.activate();
      case "deactivate":
        return void this.deactivate();
      case "call":
        return void this.runCall(message);
      case "cancel":
        return this.running.get(message.id)?.abort(new AetherError("E_TIMEOUT", message.reason));
      case "ping":
        return void this.report(message.collect);
      case "answer":
        return this.loaded?.outgoing.receiveAnswer(message.id, message.reply);
      case "service-answer":
        return this.services.receiveAnswer(message.id, message.reply);
      case "lease-lost":
        return this.leases.receiveLost(message.token, message.error);
      case "go-on":
        return this.outbox.resume();
      case "agent":
        // A worker of an instance has nobody who would hear it.
        return this.extension?.receive(message.payload);
      default:
        return unreachable(message);
    }
  }

  private async report(collect: boolean): Promise<void> {
    this.outbox.add({ kind: "alive", memory: await this.ports.measureMemory(collect) });
  }

  private async activate(): Promise<void> {
    const slice = this.requireLoaded();
    await this.step("start", async () => {
      this.activity = new Cancellation();
      await this.runHook(slice, slice.module.start, this.activity);
      return { kind: "activated" };
    });
  }

  private async deactivate(): Promise<void> {
    const slice = this.requireLoaded();
    await this.step("stop", async () => {
      this.activity.abort(new AetherError("E_UNAVAILABLE", `${this.boot.instance} is stopping`));
      await this.runHook(slice, slice.module.stop, new Cancellation());
      await this.leases.end();
      return { kind: "deactivated" };
    });
  }

  private takeLines(lines: number): boolean {
    if (!this.lines.take(this.ports.clock.nowMs(), lines)) return false;
    const leftOut = this.lines.takeLeftOut();
    if (leftOut > 0) this.log.warn(`${leftOut} lines of output were left out: more than may be written per second`);
    return true;
  }

  private requireLoaded(): LoadedSlice {
    return present(this.loaded, "the node asks for more only after `loaded`");
  }

  /** Runs one step of the life cycle and reports how it ended. */
  private async step(name: string, run: () => Promise<WorkerMessage>): Promise<void> {
    try {
      this.outbox.add(await run());
    } catch (thrown) {
      this.outbox.add({ kind: "step-failed", error: this.stepError(name, thrown) });
    }
  }

  private stepError(step: string, thrown: unknown): ErrorBody {
    // What this file found wrong says so itself; everything else was thrown by the slice, whose hooks may have it from
    // a call to another one: that is no reason never to try again.
    if (step === "import" && thrown instanceof AetherError && thrown.code === "E_INVALID") return thrown.toBody();
    this.log.error(`${step} threw`, { stack: stackOf(thrown) });
    const details = thrownDetails(thrown);
    const text = `${step} of ${this.boot.instance} threw ${details.name}: ${details.message}`;
    return new AetherError("E_HANDLER", text, { details: { step, ...details }, outcome: "not-applied" }).toBody();
  }

  private requireName(module: SliceModule): void {
    if (module.contract.name === this.boot.slice) return;
    throw new AetherError(
      "E_INVALID",
      `cannot load ${this.boot.instance}: the blueprint says slice "${this.boot.slice}", the bundle's contract is ` +
        `"${module.contract.name}"; use the same name in both`,
    );
  }

  private async parseConfig(module: SliceModule): Promise<unknown> {
    const given = this.boot.config ?? {};
    if (module.config === undefined) {
      if (typeof given === "object" && Object.keys(given).length === 0) return {};
      throw new AetherError(
        "E_INVALID",
        `cannot load ${this.boot.instance}: the blueprint gives it a config, but the slice declares none; ` +
          "remove it, or declare `config` in defineSlice",
      );
    }
    const checked = await checkValue(module.config, given);
    if (checked.kind === "valid") return checked.data;
    throw new AetherError(
      "E_INVALID",
      `cannot load ${this.boot.instance}: its config is invalid: ${checked.text}; correct it in the blueprint`,
      { details: checked.details },
    );
  }

  private resolveCallees(module: SliceModule): ReadonlyMap<string, Callee> {
    const callees = new Map<string, Callee>();
    for (const [alias, contract] of module.uses) {
      const use = Object.hasOwn(this.boot.uses, alias) ? this.boot.uses[alias] : undefined;
      if (use === undefined || use.slice !== contract.name) {
        const found = use === undefined ? "nothing" : `slice "${use.slice}"`;
        throw new AetherError(
          "E_INVALID",
          `cannot load ${this.boot.instance}: it uses "${alias}" with the contract "${contract.name}", ` +
            `but the blueprint resolved it to ${found}; declare it in the slice's package and build it again`,
        );
      }
      callees.set(alias, { contract, use });
    }
    return callees;
  }

  private async runHook(slice: LoadedSlice, hook: Hook | undefined, signal: Cancellation): Promise<void> {
    if (hook === undefined) return;
    await hook(this.createContext(slice, { signal, remainingMs: () => Number.POSITIVE_INFINITY }));
  }

  private createContext(
    slice: LoadedSlice, scope: CallerScope, call?: CallIdentity,
  ): Readonly<Record<string, unknown>> {
    const { outgoing, config } = slice;
    const { services } = this;
    let agents: WorkerAgents | undefined;
    const kv = new WorkerKv(this.services, scope);
    const lease = (name: string, options: LeaseOptions = {}): Promise<SliceLease> =>
      this.leases.take(name, options, scope);
    const tell = (topic: TopicShape, payload: unknown, options: StateCallOptions = {}): Promise<void> =>
      publish(this.services, { topic, payload, options }, scope);
    const { log: all } = this;
    let log: WorkerLog | undefined;
    return {
      uses: outgoing.createClients(scope), config, kv, lease, publish: tell,
      get log() {
        return (log ??= all.within(scope.traceparent));
      },
      get agents() {
        return (agents ??= new WorkerAgents(services, scope, call));
      },
      // Few handlers ask for it, and it would be the dearest part of a short call.
      get signal() {
        return sliceSignal(scope);
      },
    };
  }

  private async runCall(call: HandlerCall): Promise<void> {
    const cancellation = new Cancellation();
    this.running.set(call.id, cancellation);
    const { reply, bytes } = await this.handle(this.requireLoaded(), call, cancellation);
    // Before the answer: who has it may call again, and find them free.
    if (this.leases.isHolding) await this.leases.end(cancellation);
    this.running.delete(call.id);
    this.outbox.add({ kind: "reply", id: call.id, reply }, bytes);
  }

  private async handle(slice: LoadedSlice, call: HandlerCall, signal: Cancellation): Promise<HandlerEnd> {
    const method = slice.module.contract.methods.get(call.method);
    const handler = slice.module.handlers.get(call.method);
    if (method === undefined || handler === undefined) {
      return this.refuse("E_NOT_FOUND", `it has no method ${call.method}`);
    }
    // Before the input is parsed: parsing is part of the time the caller waits.
    const deadlineMs = this.ports.clock.nowMs() + call.timeoutMs;
    try {
      const input = await checkValue(method.input, call.input);
      if (input.kind === "invalid") {
        return this.refuse("E_INVALID", `the input of ${this.name(method)} is invalid: ${input.text}`, input.details);
      }
      if (signal.aborted) return this.refuse("E_TIMEOUT", "the caller gave up before the handler started");
      const output = await handler(input.data, this.createCallContext(slice, { call, signal, deadlineMs }));
      return await this.replyWith(method, output);
    } catch (thrown) {
      return { reply: { kind: "failed", error: this.handlerError(method, thrown) } };
    }
  }

  private createCallContext(slice: LoadedSlice, running: RunningCall): Readonly<Record<string, unknown>> {
    const { call, signal, deadlineMs } = running;
    const remainingMs = (): number => Math.max(0, deadlineMs - this.ports.clock.nowMs());
    const { traceparent, idempotencyKey } = call;
    const scope = { signal, remainingMs, traceparent };
    return Object.assign(this.createContext(slice, scope, call), { remainingMs, idempotencyKey, traceparent });
  }

  private async replyWith(method: MethodModule, output: unknown): Promise<HandlerEnd> {
    const checked = await checkValue(method.output, output);
    if (checked.kind === "invalid") {
      return this.outputRefused(method, { text: checked.text, details: { name: "OutputInvalid", ...checked.details } });
    }
    const plain = toPlain(encodeForWire(method.output, checked.data, output), CALL_BYTES_MAX);
    if (plain.kind === "plain") return { reply: { kind: "ok", output: plain.value }, bytes: plain.bytes };
    if (plain.kind === "too-large") {
      const { limit, actual } = plain;
      return this.outputRefused(method, {
        text: `it is above ${limit} bytes`,
        details: { name: "OutputTooLarge", limit, actual },
      });
    }
    const text = `${plain.path === "" ? "it" : plain.path} is ${plain.found}, not plain data`;
    return this.outputRefused(method, { text, details: { name: "OutputInvalid" } });
  }

  private outputRefused(method: MethodModule, found: OutputFault): HandlerEnd {
    const message = `the handler of ${this.name(method)} answered what its contract does not allow: ${found.text}`;
    return { reply: { kind: "failed", error: handlerFailure(method, message, found.details) } };
  }

  private handlerError(method: MethodModule, thrown: unknown): ErrorBody {
    this.log.warn(`the handler of ${this.name(method)} threw`, { stack: stackOf(thrown) });
    const details = thrownDetails(thrown);
    const text = `the handler of ${this.name(method)} threw ${details.name}: ${details.message}`;
    return handlerFailure(method, text, details);
  }

  private refuse(code: "E_NOT_FOUND" | "E_INVALID" | "E_TIMEOUT", message: string, details = {}): HandlerEnd {
    const error = new AetherError(code, message, { details, outcome: "not-applied" }).toBody();
    return { reply: { kind: "not-started", error } };
  }

  private name(method: MethodModule): string {
    return `${this.boot.slice}.${method.spec.method}`;
  }
}

/** `ctx.signal`. A handler may listen to it as often as it calls others: that many listeners are no leak. */
function sliceSignal({ signal }: CallerScope): AbortSignal {
  setMaxListeners(0, signal.native);
  return signal.native;
}

interface RunningCall {
  readonly call: HandlerCall;
  readonly signal: Cancellation;
  readonly deadlineMs: number;
}

interface HandlerEnd {
  readonly reply: IncomingReply;
  /** About how much it is, where that may be much. */
  readonly bytes?: number;
}

interface OutputFault {
  readonly text: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** A failed call inside keeps its code, so that a caller can tell "pricing is away" from a bug. */
function thrownDetails(thrown: unknown): ThrownText & Readonly<Record<string, unknown>> {
  return { ...describeThrown(thrown), ...(thrown instanceof AetherError && { code: thrown.code }) };
}

function handlerFailure(method: MethodModule, message: string, details: Readonly<Record<string, unknown>>): ErrorBody {
  const outcome = method.spec.effect === "read" ? "none" : "unknown";
  return new AetherError("E_HANDLER", message, { details, outcome }).toBody();
}
