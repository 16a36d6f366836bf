// Owns: making a test cluster: its options and their checks, forming it, starting its slices.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { HOUR_MS } from "../base/units.ts";
import { labelsSchema } from "../sdk/blueprint.ts";
import type { NodeSeams } from "./node-seams.ts";
import { nameNodes } from "./sim-node.ts";
import { TestCluster, type NamedBlueprint } from "./test-cluster.ts";
import type { TestSlice } from "./test-slice.ts";

export interface TestClusterOptions {
  /** Nodes, all of them voters, named `n1`, `n2`, … Default 3. */
  readonly nodes?: number;
  /** Equal seeds give equal runs; each seed is another order of what happens at once. Default 1. */
  readonly seed?: number;
  /** There is no other: minutes pass in moments, and no time passes between two waits of a test. */
  readonly time: "virtual";
  /** What may run; `buildSlices` and `inlineSlice` make them. */
  readonly slices: readonly TestSlice[];
  /** What runs. More can be applied later. */
  readonly blueprint: NamedBlueprint;
  /** Labels of nodes, by their names. */
  readonly labels?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** How wrong the wall clock of each node may be, in milliseconds either way: the seed draws it. Default 200. */
  readonly wallSkewMs?: number;
}

/** As far as clocks that are kept in time are off. */
const WALL_SKEW_MS = 200;
const WALL_SKEW_MS_MAX = 24 * HOUR_MS;
/** More voters than anybody runs; each costs real time. */
export const TEST_NODES_MAX = 9;

const optionsSchema = z.object({
  nodes: z.int().min(1).max(TEST_NODES_MAX).default(3),
  seed: z.int().min(0).max(0xffffffff).default(1),
  time: z.literal("virtual"),
  labels: z.record(z.string(), labelsSchema).default({}),
  wallSkewMs: z.number().min(0).max(WALL_SKEW_MS_MAX).default(WALL_SKEW_MS),
});

/**
 * Starts a cluster in this process, in a simulated world, and resolves once the blueprint runs as it says.
 * @throws AetherError E_INVALID for options and blueprints that are wrong; E_TIMEOUT when an instance does not start.
 * @example
 * await using cluster = await createTestCluster({ nodes: 3, seed: 7, time: "virtual", slices, blueprint });
 * const placing = cluster.slice(orders).place({ sku: "tea" });
 * await cluster.advance(2);
 * cluster.kill("n1");
 * await placing;
 */
export function createTestCluster(options: TestClusterOptions): Promise<TestCluster> {
  return openTestCluster(options, {});
}

/** The same, with something between the parts of its nodes. */
export async function openTestCluster(options: TestClusterOptions, seams: NodeSeams): Promise<TestCluster> {
  const parsed = optionsSchema.safeParse(options);
  if (!parsed.success) {
    throw new AetherError("E_INVALID", `createTestCluster was given wrong options: ${z.prettifyError(parsed.error)}`);
  }
  const { nodes: count, seed, labels, wallSkewMs } = parsed.data;
  const nodes = nameNodes(count);
  checkLabels(nodes, labels);
  const cluster = await TestCluster.form({ nodes, seed, labels, wallSkewMs, seams });
  try {
    for (const slice of options.slices) await cluster.push(slice);
    await cluster.apply(options.blueprint);
  } catch (error) {
    await cluster.close();
    throw error;
  }
  return cluster;
}

function checkLabels(nodes: readonly string[], labels: Readonly<Record<string, unknown>>): void {
  const unknown = Object.keys(labels).filter((node) => !nodes.includes(node));
  if (unknown.length === 0) return;
  throw new AetherError("E_INVALID", `labels name ${unknown.join(", ")}, but the nodes are ${nodes.join(", ")}`);
}
