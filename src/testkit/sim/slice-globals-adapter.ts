// Owns: what the code of a simulated slice finds under the global names of time, chance, process and output, and what
// its `require` gives for Node's own modules of that kind: virtual ones. Everything else is the real thing.
import { createRequire } from "node:module";
import { format } from "node:util";
import { AetherError } from "../../base/errors.ts";
import type { Timer } from "../../env/clock.ts";
import type { SliceSurroundings } from "../test-slice.ts";

/** Names that mean something else in the module of a simulated slice. */
export const SLICE_GLOBALS = [
  "require", "setTimeout", "setInterval", "setImmediate", "clearTimeout", "clearInterval", "clearImmediate", "Date",
  "performance", "Math", "AbortSignal", "process", "console", "fetch",
] as const;

export type SliceGlobals = Readonly<Record<(typeof SLICE_GLOBALS)[number], unknown>>;

type Callback = (...args: readonly unknown[]) => void;

const realRequire = createRequire(import.meta.url);

/** What those names mean for one instance. */
export function createSliceGlobals(surroundings: SliceSurroundings): SliceGlobals {
  const timers = createTimers(surroundings);
  const globals = {
    ...timers,
    Date: createDate(surroundings),
    performance: createPerformance(surroundings),
    Math: createMath(surroundings),
    AbortSignal: createAbortSignal(surroundings),
    process: createProcess(surroundings),
    console: createConsole(surroundings),
    fetch: refuseNetwork,
  };
  return { ...globals, require: createRequireFor(surroundings, globals) };
}

/** As far as slices use what `setTimeout` answers. */
class VirtualTimeout {
  private readonly start: () => Timer;
  private timer: Timer;

  constructor(start: () => Timer) {
    this.start = start;
    this.timer = start();
  }

  cancel(): void {
    this.timer.cancel();
  }

  close(): this {
    this.cancel();
    return this;
  }

  refresh(): this {
    this.cancel();
    this.timer = this.start();
    return this;
  }

  /** A worker of a cluster lives as long as its instance. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }
}

type Timers = Pick<
  SliceGlobals, "setTimeout" | "setInterval" | "setImmediate" | "clearTimeout" | "clearInterval" | "clearImmediate"
>;

function createTimers({ clock }: SliceSurroundings): Timers {
  const clear = (timeout: unknown): void => {
    if (timeout instanceof VirtualTimeout) timeout.cancel();
  };
  const setTimeout = (fire: Callback, delayMs = 0, ...args: readonly unknown[]): VirtualTimeout =>
    new VirtualTimeout(() => clock.setTimer(usableDelay(delayMs), () => fire(...args)));
  const setInterval = (fire: Callback, delayMs = 0, ...args: readonly unknown[]): VirtualTimeout => {
    const timeout: VirtualTimeout = setTimeout(() => {
      timeout.refresh();
      fire(...args);
    }, delayMs);
    return timeout;
  };
  const setImmediate = (fire: Callback, ...args: readonly unknown[]): VirtualTimeout => setTimeout(fire, 0, ...args);
  return {
    setTimeout, setInterval, setImmediate, clearTimeout: clear, clearInterval: clear, clearImmediate: clear,
  };
}

/** What Node makes of a delay that is none. */
function usableDelay(delayMs: unknown): number {
  const number = Number(delayMs);
  return number >= 1 && number <= 2_147_483_647 ? number : 1;
}

/** `timers/promises`. */
function createTimerPromises({ clock }: SliceSurroundings): Readonly<Record<string, unknown>> {
  const wait = async (delayMs: unknown, value: unknown, options: { readonly signal?: AbortSignal } = {}) => {
    await clock.sleep(usableDelay(delayMs), options.signal);
    return value;
  };
  return {
    setTimeout: (delayMs: unknown, value?: unknown, options?: { readonly signal?: AbortSignal }) =>
      wait(delayMs, value, options),
    setImmediate: (value?: unknown, options?: { readonly signal?: AbortSignal }) => wait(0, value, options),
    scheduler: {
      wait: (delayMs: unknown, options?: { readonly signal?: AbortSignal }) => wait(delayMs, undefined, options),
    },
  };
}

function createDate({ clock }: SliceSurroundings): DateConstructor {
  const nowMs = (): number => Math.floor(clock.wallMs());
  return new Proxy(Date, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [nowMs()] : args, newTarget) as object,
    apply: (target) => new target(nowMs()).toString(),
    get: (target, name) => (name === "now" ? nowMs : Reflect.get(target, name)) as unknown,
  });
}

function createPerformance({ clock }: SliceSurroundings): object {
  return { now: () => clock.nowMs(), timeOrigin: clock.wallMs() - clock.nowMs() };
}

function createMath({ random }: SliceSurroundings): object {
  return Object.create(Math, { random: { value: () => random.next() } }) as object;
}

function createAbortSignal({ clock }: SliceSurroundings): typeof AbortSignal {
  const timeout = (delayMs: number): AbortSignal => {
    const controller = new AbortController();
    const expire = (): void =>
      controller.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
    clock.setTimer(delayMs, expire);
    return controller.signal;
  };
  return new Proxy(AbortSignal, {
    get: (target, name) => (name === "timeout" ? timeout : Reflect.get(target, name)) as unknown,
  });
}

function createProcess({ variables, exit }: SliceSurroundings): object {
  const leave = (exitCode = 0): never => {
    exit(exitCode);
    throw new AetherError("E_UNAVAILABLE", "the slice ended its own process");
  };
  return Object.create(process, { env: { value: { ...variables } }, exit: { value: leave } }) as object;
}

function createConsole({ print }: SliceSurroundings): object {
  const to = (stream: "stdout" | "stderr") => (...args: readonly unknown[]): void => print(stream, format(...args));
  const [out, err] = [to("stdout"), to("stderr")];
  return Object.assign(Object.create(console) as object, {
    log: out, info: out, debug: out, warn: err, error: err, trace: err,
  });
}

function refuseNetwork(): Promise<never> {
  return Promise.reject(
    new AetherError(
      "E_UNAVAILABLE",
      "a test cluster has no network outside of it: let a slice that the test defines stand for the other side",
    ),
  );
}

/** Bundles carry everything but what Node itself has. */
function createRequireFor(
  surroundings: SliceSurroundings,
  globals: Omit<SliceGlobals, "require">,
): (name: string) => unknown {
  const promises = createTimerPromises(surroundings);
  const { process, performance, console } = globals;
  const own: Readonly<Record<string, unknown>> = {
    timers: { ...globals, promises },
    "timers/promises": promises,
    process,
    console,
    perf_hooks: { ...(realRequire("node:perf_hooks") as object), performance },
  };
  const requireBuiltIn = (name: string): unknown => {
    const plain = name.replace(/^node:/, "");
    // CommonJS packages inside a bundle make their `require` from this one.
    if (plain === "module") return { ...(realRequire("node:module") as object), createRequire: () => requireBuiltIn };
    return own[plain] ?? realRequire(name);
  };
  return requireBuiltIn;
}
