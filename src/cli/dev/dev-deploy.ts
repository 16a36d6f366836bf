// Owns: keeping a running cluster at what a directory says: build, push, apply, wait, and again after each change.
// What does not build or cannot be applied is told with its place, and what runs goes on.
import { basename, join, relative } from "node:path";
import { z } from "zod";
import { AetherError, toAetherError } from "../../base/errors.ts";
import { ERRORS } from "../../base/error-catalog.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { CliIo } from "../cli-io.ts";
import { type HttpApi, JSON_CONTENT } from "../http-api.ts";
import { apiPath } from "../options.ts";
import { readDevProject, type DevBlueprint } from "./dev-project.ts";
import { SourceWatch } from "./source-watch.ts";

const POLL_MS = 40;
/** A slice that is not ACTIVE after this is told, and the next change is waited for. */
const ACTIVE_MS_MAX = 60 * SECOND_MS;
/** Until what a node refused for the moment is tried again. */
const AGAIN_AFTER_MS = SECOND_MS;
const PUSH_MS_MAX = 120 * SECOND_MS;

const listSchema = z.object({ artifacts: z.array(z.object({ manifest: z.unknown() })) });
const appliedSchema = z.object({ revision: z.number() });
const statusSchema = z.object({
  slices: z.record(z.string(), z.object({
    artifact: z.string(),
    want: z.number(),
    active: z.number(),
    instances: z.array(z.object({
      artifact: z.string().optional(),
      node: z.string(),
      state: z.string(),
      error: z.object({ message: z.string() }).optional(),
    })),
  })),
});
const placesSchema = z.array(z.object({
  file: z.string().optional(),
  line: z.number().optional(),
  column: z.number().optional(),
  text: z.string(),
}));

interface BuiltSlice {
  readonly slice: string;
  readonly directory: string;
  readonly artifact: string;
  readonly inputs: readonly string[];
  archive(): Uint8Array;
}

/** The packages of the project as development versions; loaded on demand, because it brings the bundler. */
interface Builds {
  learn(manifests: readonly unknown[]): void;
  build(directories: readonly string[], signal?: AbortSignal): Promise<{
    readonly slices: readonly BuiltSlice[];
    readonly failures: readonly { readonly directory: string; readonly error: AetherError }[];
  }>;
  resolve(reference: string): string | undefined;
  close(): Promise<void>;
}

export interface DevDeployOptions {
  readonly io: CliIo;
  readonly api: HttpApi;
  readonly directory: string;
  readonly signal: AbortSignal;
}

/** Deploys what is in the directory, and again what changes there, until the signal aborts. */
export async function runDevDeploy(options: DevDeployOptions): Promise<void> {
  const { DevBuilds } = await import("../../slices/build/dev-builds.ts");
  const builds = new DevBuilds();
  const watch = new SourceWatch(options.io, options.directory);
  try {
    await new DevDeploy(options, builds, watch).run();
  } catch (error) {
    if (!options.signal.aborted) throw error;
  } finally {
    watch.close();
    await builds.close();
  }
}

class DevDeploy {
  private readonly options: DevDeployOptions;
  private readonly builds: Builds;
  private readonly watch: SourceWatch;
  /** The text that was sent last, by blueprint; absent when the next round is to send it in any case. */
  private readonly sent = new Map<string, string>();
  /** The same of what became ACTIVE last. */
  private readonly served = new Map<string, string>();
  /** Artifacts of the last round: the cluster has them. */
  private pushed: ReadonlySet<string> = new Set();
  /** A failure that goes on for a while is told once. */
  private told = "";
  private inputs: readonly string[] = [];
  private hasLearned = false;

  constructor(options: DevDeployOptions, builds: Builds, watch: SourceWatch) {
    this.options = options;
    this.builds = builds;
    this.watch = watch;
  }

  /** Never resolves; rejects when the signal aborts. */
  async run(): Promise<never> {
    const { io, signal } = this.options;
    let sinceMs = io.nowMs();
    for (;;) {
      const end = await this.tryRound(sinceMs);
      signal.throwIfAborted();
      if (end === "again") {
        await io.sleep(AGAIN_AFTER_MS, signal);
        continue;
      }
      sinceMs = await this.watch.next(signal);
    }
  }

  private async tryRound(sinceMs: number): Promise<"done" | "again"> {
    const { directory, signal } = this.options;
    try {
      await this.round(sinceMs);
      this.told = "";
      return "done";
    } catch (error) {
      signal.throwIfAborted();
      const failure = toAetherError(error);
      if (failure.message !== this.told) this.tell(failure, directory);
      if (ERRORS[failure.code].retry === "never") return "done";
      this.told = failure.message;
      return "again";
    }
  }

  private async round(sinceMs: number): Promise<void> {
    const { directory, signal } = this.options;
    await this.watch.cover(this.inputs);
    const project = await readDevProject(directory);
    await this.learn();
    const { slices, failures } = await this.builds.build(project.packages, signal);
    for (const { directory: failed, error } of failures) this.tell(error, failed);
    if (failures.length > 0) return;
    this.inputs = slices.flatMap(({ inputs }) => inputs);
    // Files outside of the directory are known only now; what changed there before counts from the next change on.
    await this.watch.cover(this.inputs);
    await this.push(slices);
    for (const blueprint of project.blueprints) await this.deploy(blueprint, sinceMs);
  }

  private async learn(): Promise<void> {
    if (this.hasLearned) return;
    const { artifacts } = await this.options.api.get(listSchema, "/v1/artifacts");
    this.builds.learn(artifacts.map(({ manifest }) => manifest));
    this.hasLearned = true;
  }

  private async deploy(blueprint: DevBlueprint, sinceMs: number): Promise<void> {
    const { io, api } = this.options;
    const { name } = blueprint;
    const exact = this.exactly(blueprint);
    const body = JSON.stringify(exact);
    if (this.sent.get(name) === body) return;
    this.sent.delete(name);
    await api.request(appliedSchema, "PUT", apiPath("/v1/blueprints", name), { body, headers: JSON_CONTENT });
    const end = await this.waitUntilActive(name);
    if (end === "overtaken") return;
    this.sent.set(name, body);
    if (end === "late") return;
    io.print(`${doneText(name, exact.slices, this.served.get(name))} in ${Math.round(io.nowMs() - sinceMs)} ms`);
    this.served.set(name, body);
  }

  /** The blueprint with the development versions of the packages that are here. */
  private exactly({ file, document, name }: DevBlueprint): DevBlueprint["document"] {
    const slices = Object.entries(document.slices).map(([slice, wanted]) => {
      try {
        const artifact = this.builds.resolve(wanted.artifact);
        return [slice, artifact === undefined ? wanted : { ...wanted, artifact, rollout: allAtOnce(wanted) }] as const;
      } catch (error) {
        const { code, message } = toAetherError(error);
        throw new AetherError(code, `${relative(this.options.io.cwd, file)}: slice ${slice}: ${message}`);
      }
    });
    return { ...document, name, slices: Object.fromEntries(slices) };
  }

  private async push(slices: readonly BuiltSlice[]): Promise<void> {
    const missing = slices.filter(({ artifact }) => !this.pushed.has(artifact));
    await Promise.all(missing.map((slice) =>
      this.options.api.request(z.unknown(), "PUT", apiPath("/v1/artifacts", slice.artifact), {
        body: Buffer.from(slice.archive()),
        headers: { "content-type": "application/octet-stream" },
        timeoutMs: PUSH_MS_MAX,
      }),
    ));
    this.pushed = new Set(slices.map(({ artifact }) => artifact));
  }

  private async waitUntilActive(name: string): Promise<"active" | "late" | "overtaken"> {
    const { io, api, signal } = this.options;
    const startMs = io.nowMs();
    for (;;) {
      if (this.watch.hasChanged) return "overtaken";
      const { slices } = await api.get(statusSchema, `${apiPath("/v1/blueprints", name)}/status`);
      const missing = Object.entries(slices).filter(([, { active, want }]) => active < want);
      if (missing.length === 0) return "active";
      const failed = missing.flatMap(([slice, status]) => failureOf(slice, status));
      const isLate = io.nowMs() - startMs > ACTIVE_MS_MAX;
      if (failed.length > 0 || isLate) {
        const late = missing.map(([slice, { active, want }]) => `${slice}: ${active} of ${want} are ACTIVE`);
        for (const line of failed.length > 0 ? failed : late) io.report(line);
        return "late";
      }
      await io.sleep(POLL_MS, signal);
    }
  }

  /** One line per mistake, with its place where there is one. */
  private tell(error: AetherError, directory: string): void {
    const { io } = this.options;
    const places = placesSchema.safeParse(error.details["places"]).data ?? [];
    if (places.length === 0) io.report(`${basename(directory)}: ${error.code}: ${error.message}`);
    for (const { file, line, column, text } of places) {
      const where = file === undefined ? basename(directory) : relative(io.cwd, join(file));
      io.report(`${where}${line === undefined ? "" : `:${line}:${column ?? 1}`}: ${text}`);
    }
  }
}

type Slices = DevBlueprint["document"]["slices"];

/** Who waits for a change has no use for one instance after the other, or for a version that is kept for a while. */
function allAtOnce({ instances }: Slices[string]): Slices[string]["rollout"] {
  return { strategy: "rolling", surge: Math.max(1, instances), unavailable: 0 };
}

/** For example `orders, pricing redeployed`. */
function doneText(name: string, now: Slices, served: string | undefined): string {
  if (served === undefined) return `${name} deployed (${Object.keys(now).join(", ")})`;
  const { slices } = z.object({ slices: z.record(z.string(), z.unknown()) }).parse(JSON.parse(served));
  const changed = Object.keys(now).filter((slice) => JSON.stringify(slices[slice]) !== JSON.stringify(now[slice]));
  return `${changed.length === 0 ? name : changed.join(", ")} redeployed`;
}

/** What keeps the wanted artifact of a slice from coming up; the one before it goes on meanwhile. */
function failureOf(slice: string, status: z.output<typeof statusSchema>["slices"][string]): readonly string[] {
  const failed = status.instances.find((one) => one.artifact === status.artifact && one.state === "FAILED");
  if (failed === undefined) return [];
  return [`${slice}: ${failed.artifact} does not start on ${failed.node}: ${failed.error?.message ?? "it failed"}`];
}
