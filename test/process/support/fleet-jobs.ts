// Owns: agents and jobs on a fleet of real nodes, as tests of them begin and end: a package of agents is there, a job
// is started, its result is asked for.
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { z } from "zod";
import { ask, eventually, type NodeFleet } from "../../support/node-fleet.ts";

const startedSchema = z.object({ job: z.string(), isNew: z.boolean() });
const endedSchema = z.object({ result: z.unknown() });

/** How many instances of their slice there are, and what they are told: agents need none. */
export interface AgentsPlace {
  readonly instances?: number;
  readonly variables?: Readonly<Record<string, string>>;
  readonly heapBytesMax?: number;
}

/** Pushes the package of `slices/{name}` and applies a blueprint of that name with it. */
export async function applyAgents(fleet: NodeFleet, name: string, place: AgentsPlace = {}): Promise<void> {
  await fleet.command("n1", "slice", "push", fileURLToPath(new URL(`../slices/${name}`, import.meta.url)));
  const slices = { [name]: { artifact: `test:${name}@^1.0.0`, instances: 0, ...place } };
  const applied = await ask(`${fleet.api("n1")}/v1/blueprints/${name}`, { method: "PUT", body: { slices } });
  expect(applied, JSON.stringify(applied.body)).toMatchObject({ status: 200 });
}

/** Starts a job over HTTP; one that was started before will do. */
export async function startJob(
  fleet: NodeFleet, via: string, body: Readonly<Record<string, unknown>>, headers: Record<string, string> = {},
): Promise<z.output<typeof startedSchema>> {
  const answer = await ask(`${fleet.api(via)}/v1/jobs`, { method: "POST", body, headers });
  expect([200, 201], JSON.stringify(answer.body)).toContain(answer.status);
  return startedSchema.parse(answer.body);
}

/** How the job ended, as soon as it has. */
export async function resultOf(fleet: NodeFleet, via: string, job: string, limitMs?: number): Promise<unknown> {
  return await eventually(`job ${job} has ended`, async () => {
    const { status, body } = await ask(`${fleet.api(via)}/v1/jobs/${job}/result?waitMs=5000`);
    return status === 200 ? endedSchema.parse(body).result : undefined;
  }, limitMs);
}
