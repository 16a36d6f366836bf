// Owns: `WorkersPort` in the simulated world: each worker runs the real runtime of a slice in this thread, and what it
// and its node say to each other is copied and takes time, as between threads.
// Does not own: what is inside a bundle (test-slice.ts). Not here: limits of heap and stack, a loop that never ends.
import { AetherError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";
import type { Clock, Timer } from "../../env/clock.ts";
import type { WorkerExit, WorkerHandle, WorkerHandlers, WorkersPort, WorkerSpec } from "../../env/workers.ts";
import { openAgents } from "../../jobs/worker/agent-runtime.ts";
import type { HostMessage, WorkerBoot, WorkerMessage } from "../../slices/core/worker-protocol.ts";
import { packWorkerTurn, unpackHostTurn } from "../../slices/core/worker-rows.ts";
import { WorkerRuntime } from "../../slices/worker/worker-runtime.ts";
import type { SliceSurroundings, TestSlice } from "../test-slice.ts";
import { withMocks, type MockPorts } from "../tool-mock.ts";
import type { SimProcess } from "./sim-process.ts";
import type { World } from "./world.ts";

export interface SimWorkersPorts {
  readonly world: World;
  readonly process: SimProcess;
  readonly clock: Clock;
  readonly random: Random;
  /** The slice of a bundle, by the URL that the node gave it. */
  findSlice(url: string): TestSlice | undefined;
  readonly mocks: MockPorts;
}

/** A message between two threads, at most; the least is the world's tick. */
const MESSAGE_MS_MAX = 0.1;
/** The heap is that of the test. */
const NO_MEMORY = { heapUsedBytes: 0, heapTotalBytes: 0, externalBytes: 0 } as const;
/** Starting a thread and importing a bundle. */
const SPAWN_MS_MIN = 10;
const SPAWN_MS_SPAN = 40;

export function createSimWorkers(ports: SimWorkersPorts): WorkersPort {
  return {
    memoryBytes: () => 0,
    threadsNowMs: () => ports.clock.nowMs(),
    // There are no processes in the simulated world.
    signalChild: () => undefined,
    spawn: (spec, handlers) => {
      const worker = new SimWorker(ports, spec, handlers);
      worker.start();
      return worker;
    },
  };
}

class SimWorker implements WorkerHandle {
  private readonly ports: SimWorkersPorts;
  private readonly spec: WorkerSpec;
  private readonly handlers: WorkerHandlers;
  private readonly random: Random;
  private readonly runtime: WorkerRuntime;
  private isAlive = true;
  /** What can wake a handler from inside the world: timers that are set, calls and requests to its node under way. */
  private readonly alarms = { timers: 0, requests: new Set<string>() };
  /** Messages of one direction keep their order. */
  private readonly arrivalMs = { inward: 0, outward: 0 };

  constructor(ports: SimWorkersPorts, spec: WorkerSpec, handlers: WorkerHandlers) {
    this.ports = ports;
    this.spec = spec;
    this.handlers = handlers;
    this.random = ports.random.fork(`worker ${spec.name}`);
    const clock = this.createClock();
    // Start data come from our own node: the same release, the same process.
    const boot = structuredClone(spec.data) as WorkerBoot;
    this.runtime = new WorkerRuntime(boot, {
      clock,
      post: (messages) => this.postOutward(messages),
      measureMemory: (collect) => Promise.resolve({ ...NO_MEMORY, isCollected: collect }),
      // There is no thread with a port or an output of its own.
      guard: () => undefined,
      importBundle: (url) => this.evaluate(url, clock),
    }, spec.role === "agents" ? openAgents({ boot, clock, threadsNowMs: () => clock.nowMs() }) : undefined);
  }

  start(): void {
    const delayMs = SPAWN_MS_MIN + this.random.next() * SPAWN_MS_SPAN;
    this.ports.clock.setTimer(delayMs, () => {
      if (this.isAlive) void this.runtime.load();
    });
  }

  post(message: unknown): void {
    const copy = unpackHostTurn(structuredClone(message));
    this.deliver("inward", () => {
      if (!this.isAlive) return;
      for (const one of copy) this.watchInward(one);
      this.runtime.receive(copy);
    });
  }

  /** A call that is given up although nothing in the world could have ended it is a mistake of the test more often. */
  private watchInward(message: HostMessage): void {
    const { timers, requests } = this.alarms;
    if (message.kind === "answer") requests.delete(`outgoing ${message.id}`);
    if (message.kind === "service-answer") requests.delete(`service ${message.id}`);
    if (message.kind !== "cancel" || timers > 0 || requests.size > 0) return;
    const outside = "a file, a socket, or a timer of the test's own process";
    const text = `a call was given up while its handler waited for what virtual time does not move: ${outside}?`;
    this.deliver("outward", () => this.handlers.onOutput("stderr", text));
  }

  terminate(): void {
    this.end({ kind: "ended", exitCode: 1 });
  }

  private postOutward(messages: readonly WorkerMessage[]): void {
    if (!this.isAlive) return;
    const copy = structuredClone(packWorkerTurn(messages));
    for (const one of messages) {
      if (one.kind === "outgoing" || one.kind === "service") this.alarms.requests.add(`${one.kind} ${one.id}`);
    }
    this.deliver("outward", () => this.handlers.onMessage(copy));
  }

  /** What was said before still arrives; the end comes last. */
  private end(exit: WorkerExit): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.deliver("outward", () => this.handlers.onExit(exit));
  }

  private deliver(direction: "inward" | "outward", arrive: () => void): void {
    const { world, process } = this.ports;
    const arrivalMs = Math.max(world.nowMs + this.random.next() * MESSAGE_MS_MAX, this.arrivalMs[direction]);
    this.arrivalMs[direction] = arrivalMs;
    world.schedule({ delayMs: arrivalMs - world.nowMs, kind: "worker", process }, arrive);
  }

  private async evaluate(url: string, clock: Clock): Promise<unknown> {
    const slice = this.ports.findSlice(url);
    if (slice === undefined) {
      throw new AetherError("E_NOT_FOUND", `this test cluster was given no slice for ${this.spec.name}: push it first`);
    }
    const module = slice.evaluate(this.createSurroundings(clock));
    return this.spec.role === "agents" ? withMocks(module, this.ports.mocks) : module;
  }

  private createSurroundings(clock: Clock): SliceSurroundings {
    return {
      clock,
      random: this.random.fork("slice"),
      variables: this.spec.variables,
      print: (stream, text) => {
        if (this.isAlive) this.deliver("outward", () => this.handlers.onOutput(stream, text));
      },
      exit: (exitCode) => this.end({ kind: "ended", exitCode }),
    };
  }

  /** The node's clock for as long as the worker lives. What a timer throws ends the worker, as in a thread. */
  private createClock(): Clock {
    const { clock } = this.ports;
    const run = (fire: () => void) => (): void => {
      if (this.isAlive) this.guard(fire);
    };
    const setTimer = (delayMs: number, fire: () => void): Timer => this.countTimer(clock, delayMs, run(fire));
    return {
      nowMs: () => clock.nowMs(),
      wallMs: () => clock.wallMs(),
      setTimer,
      defer: (fire) => clock.defer(run(fire)),
      nextTurn: (fire) => clock.nextTurn(run(fire)),
      sleep: (delayMs, signal) => sleepOn(setTimer, delayMs, signal),
    };
  }

  private countTimer(clock: Clock, delayMs: number, fire: () => void): Timer {
    let isSet = true;
    this.alarms.timers += 1;
    const end = (): void => {
      if (isSet) this.alarms.timers -= 1;
      isSet = false;
    };
    const timer = clock.setTimer(delayMs, () => {
      end();
      fire();
    });
    return {
      cancel: () => {
        end();
        timer.cancel();
      },
    };
  }

  private guard(fire: () => void): void {
    try {
      fire();
    } catch (thrown) {
      const what = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
      this.end({ kind: "crashed", reason: `uncaught ${what}` });
    }
  }
}

/** Of a worker that has ended, nobody is woken. */
function sleepOn(setTimer: Clock["setTimer"], delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason as Error);
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = setTimer(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
