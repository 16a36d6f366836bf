// Owns: a SliceStore over real worker threads (compiled from src by `npm run build`) and bundles written by hand.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArtifactId } from "../../../src/base/ids.ts";
import { ResourceStack } from "../../../src/base/resource-stack.ts";
import { MiB } from "../../../src/base/units.ts";
import type { Clock } from "../../../src/env/clock.ts";
import type { Log, LogFields, Telemetry } from "../../../src/env/telemetry.ts";
import type { WorkersPort } from "../../../src/env/workers.ts";
import { createRealClock } from "../../../src/node/env-clock-adapter.ts";
import { sha256 } from "../../../src/base/digest.ts";
import { createBundleFiles } from "../../../src/slices/host/bundle-files-adapter.ts";
import type { CallMeter } from "../../../src/slices/host/call-meter.ts";
import type { InstanceSpec } from "../../../src/slices/host/instance-host.ts";
import type { OutgoingCalls } from "../../../src/slices/host/outgoing-calls.ts";
import { RuntimeConfig } from "../../../src/slices/host/runtime-config.ts";
import type { SliceServices } from "../../../src/slices/services/slice-services.ts";
import { SliceStore } from "../../../src/slices/host/slice-store.ts";
import { createThreadWorkers } from "../../../src/slices/host/thread-adapter.ts";
import { LogLevels } from "../../../src/base/log-levels.ts";
import { NO_TRACING } from "../../../src/testkit/sim/sim-telemetry.ts";

export const NEVER = new AbortController().signal;

const ZOD = new URL("../../../node_modules/zod/index.js", import.meta.url).href;

export interface Fixture extends AsyncDisposable {
  readonly store: SliceStore;
  readonly clock: Clock;
  readonly directory: string;
  /** Everything logged, by level. */
  readonly lines: LogLine[];
  /** Instances lost, with the reason. */
  readonly lost: (readonly [key: string, reason: string])[];
  /** Worker threads that have not exited. */
  liveWorkers(): number;
  /** Loads and activates an instance of this bundle. */
  run(source: string, overrides?: Partial<InstanceSpec>): Promise<InstanceSpec>;
  /** Makes the source the content of the artifact of this spec. */
  publish(source: string, overrides?: Partial<InstanceSpec>): InstanceSpec;
}

export interface FixtureOptions {
  readonly calls?: OutgoingCalls;
  readonly services?: SliceServices;
  readonly handled?: CallMeter;
  readonly config?: Partial<RuntimeConfig>;
}

/** A bundle: `contract` and the rest of a slice definition as JavaScript text; `z` is zod. */
export function bundleOf(name: string, methods: string, rest: string, head = ""): string {
  return `import { z } from ${JSON.stringify(ZOD)};
const contract = { name: ${JSON.stringify(name)}, methods: { ${methods} } };
${head}
export default { kind: "aether-slice", contract, ${rest} };`;
}

/** A bundle with the one method `run`, from nothing to anything, and this handler. */
export function runBundle(handler: string, head = "", rest = ""): string {
  const methods = "run: { input: z.any(), output: z.any(), effect: 'write', timeoutMs: 15000 }";
  return bundleOf("demo", methods, `methods: { run: ${handler} }, ${rest}`, head);
}

export async function openFixture(options: FixtureOptions = {}): Promise<Fixture> {
  const stack = new ResourceStack();
  const directory = await mkdtemp(join(tmpdir(), "aether-slices-"));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const clock = createRealClock();
  const sources = new Map<string, string>();
  const { telemetry, lines } = createRecordingTelemetry();
  const { workers, live } = countWorkers(createThreadWorkers());
  const store = new SliceStore(
    { clock, workers, telemetry },
    {
      artifacts: {
        fetch: (artifact) => {
          const bundle = new TextEncoder().encode(sources.get(artifact) ?? "");
          return Promise.resolve({ bundle, digest: sha256(bundle) });
        },
      },
      bundles: createBundleFiles(join(directory, "bundles")),
      calls: options.calls ?? { call: () => Promise.reject(new RangeError("this test calls nobody")) },
      services: options.services ?? {},
      handled: options.handled ?? { note: () => undefined },
    },
    RuntimeConfig.parse(options.config ?? {}),
  );
  stack.defer(() => store.close());
  const lost: (readonly [string, string])[] = [];
  store.onLost((key, reason) => lost.push([key, reason]));
  const publish = (source: string, overrides: Partial<InstanceSpec> = {}): InstanceSpec => {
    const spec = specOf(overrides);
    sources.set(spec.artifact, source);
    return spec;
  };
  return {
    store,
    clock,
    directory,
    lines,
    lost,
    liveWorkers: live,
    publish,
    run: async (source, overrides) => {
      const spec = publish(source, overrides);
      await store.load(spec, NEVER);
      await store.activate(spec.key, NEVER);
      return spec;
    },
    [Symbol.asyncDispose]: () => stack.close(),
  };
}

export function specOf(overrides: Partial<InstanceSpec> = {}): InstanceSpec {
  const artifact = overrides.artifact ?? parseArtifactId("demo:demo:1.0.0");
  return {
    key: `${artifact}/${overrides.index ?? 0}`,
    slice: "demo",
    artifact,
    index: 0,
    config: undefined,
    uses: {},
    heapBytesMax: 64 * MiB,
    concurrency: 16,
    variables: {},
    ...overrides,
  };
}

/** Waits, turn by turn, for something that real I/O brings about. */
export async function until(clock: Clock, isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await clock.sleep(2);
}

type LogLine = LogFields & { readonly level: string };

export function createRecordingTelemetry(): { telemetry: Telemetry; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const logWith = (bindings: Readonly<Record<string, unknown>>): Log => {
    const write = (level: string) => (fields: LogFields) => void lines.push({ level, ...bindings, ...fields });
    return {
      error: write("error"),
      warn: write("warn"),
      info: write("info"),
      debug: write("debug"),
      child: (more) => logWith({ ...bindings, ...more }),
    };
  };
  const telemetry: Telemetry = {
    log: logWith({}),
    counter: () => ({ add: () => undefined }),
    gauge: () => ({ set: () => undefined }),
    histogram: () => ({ observe: () => undefined }),
    levels: new LogLevels("info"),
    tracing: NO_TRACING,
    exposition: () => Promise.resolve(""),
  };
  return { telemetry, lines };
}

function countWorkers(inner: WorkersPort): { workers: WorkersPort; live: () => number } {
  let live = 0;
  const workers: WorkersPort = {
    memoryBytes: () => inner.memoryBytes(),
    threadsNowMs: () => inner.threadsNowMs(),
    signalChild: (pid, signal) => inner.signalChild(pid, signal),
    spawn: (spec, handlers) => {
      live += 1;
      return inner.spawn(spec, {
        ...handlers,
        onExit: (exit) => {
          live -= 1;
          handlers.onExit(exit);
        },
      });
    },
  };
  return { workers, live: () => live };
}
