// Owns: running a built slice just far enough to read its contract: in a worker of its own, with a time limit, an
// empty environment and little memory. The slice's start() and handlers are not run.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { z } from "zod";
import type { InspectRequest } from "./inspect-main-adapter.ts";
import type { Described, SliceDescription } from "./describe-slice.ts";

/** Importing a slice defines things and does nothing else; what takes longer hangs. */
const INSPECT_TIMEOUT_MS = 15_000;
const INSPECT_HEAP_MB = 256;

/** Both are complete ES modules. */
export interface InspectInput {
  readonly bundle: Uint8Array;
  /** inspect-main-adapter.ts with all it needs, so that it runs from any directory and from sources alike. */
  readonly inspector: Uint8Array;
}

/** Reads the contract of a built slice. Never rejects because of the slice: that is `refused`. */
export async function inspectBundle(input: InspectInput, signal: AbortSignal | undefined): Promise<Described> {
  const directory = await mkdtemp(join(tmpdir(), "aether-inspect-"));
  try {
    const bundle = join(directory, "slice.mjs");
    const inspector = join(directory, "inspect.mjs");
    await writeFile(bundle, input.bundle);
    await writeFile(inspector, input.inspector);
    signal?.throwIfAborted();
    return await runInspector(inspector, { url: pathToFileURL(bundle).href }, signal);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function runInspector(
  file: string,
  request: InspectRequest,
  signal: AbortSignal | undefined,
): Promise<Described> {
  const worker = new Worker(pathToFileURL(file), {
    workerData: request,
    env: {},
    execArgv: [],
    // Whatever the slice prints while it is imported is read and dropped.
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: INSPECT_HEAP_MB },
  });
  worker.stdout.resume();
  worker.stderr.resume();
  const timeout = AbortSignal.timeout(INSPECT_TIMEOUT_MS);
  const ended = AbortSignal.any(signal === undefined ? [timeout] : [timeout, signal]);
  try {
    return await new Promise<Described>((resolve, reject) => {
      worker.on("message", (message: unknown) => resolve(parseDescribed(message)));
      worker.on("error", (error) => resolve(refused(`importing it failed with ${error.name}: ${error.message}`)));
      worker.on("exit", (code) => resolve(refused(`it ended with exit code ${code} while it was imported`)));
      ended.addEventListener("abort", () => {
        if (signal?.aborted === true) reject(signal.reason);
        else resolve(refused(`importing it took more than ${INSPECT_TIMEOUT_MS / 1_000} s: does it loop or wait?`));
      });
    });
  } finally {
    await worker.terminate();
  }
}

const usesSchema = z.object({ uses: z.record(z.string(), z.string()) });

const describedSchema: z.ZodType<Described> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("refused"), reason: z.string() }),
  // What else is inside is checked where the manifest that is made of it is parsed.
  z.object({
    kind: z.literal("described"),
    description: z.custom<SliceDescription>((value) => usesSchema.safeParse(value).success),
  }),
]);

/** The slice's code shares the worker and could have answered itself. */
function parseDescribed(message: unknown): Described {
  const parsed = describedSchema.safeParse(message);
  return parsed.success ? parsed.data : refused("it sent messages of its own while it was imported");
}

function refused(reason: string): Described {
  return { kind: "refused", reason };
}
