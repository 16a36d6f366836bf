// Owns: the main of the worker that reads the contract of a built slice: import, describe, answer, end.
import { parentPort, workerData } from "node:worker_threads";
import { z } from "zod";
import { describeSlice, type Described } from "./describe-slice.ts";

const requestSchema = z.object({ url: z.string() });

/** Start data of the worker: the built module to read. */
export type InspectRequest = z.output<typeof requestSchema>;

async function inspect(request: InspectRequest): Promise<Described> {
  try {
    const module: unknown = await import(request.url);
    const hasDefault = typeof module === "object" && module !== null && "default" in module;
    return describeSlice(hasDefault ? module.default : undefined);
  } catch (error) {
    const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return { kind: "refused", reason: `importing it failed with ${reason}` };
  }
}

parentPort?.postMessage(await inspect(requestSchema.parse(workerData)));
