// Owns: what may go wrong in a run, as data, and the plan of one run's faults drawn from its seed.
import { present } from "../../../src/base/assert.ts";
import type { NodeId } from "../../../src/base/ids.ts";
import type { Random } from "../../../src/base/random.ts";
import { CALM_LINKS, type LinkProfile } from "../../../src/testkit/sim/sim-network.ts";

/** A step of the protocol at which a crash is most likely to hurt. */
export type CrashMoment = "proposed" | "ballot-durable" | "decided" | "applied" | "acknowledged";

export type CrashWhen =
  | { readonly kind: "now" }
  /** At the `skip`-th such step from now on, of the first victim. */
  | { readonly kind: "at"; readonly moment: CrashMoment; readonly skip: number };

export interface Victim {
  readonly node: NodeId;
  readonly restartAfterMs: number;
}

interface ForATime {
  readonly durationMs: number;
}

export type Fault =
  | (ForATime & { readonly kind: "links"; readonly profile: LinkProfile })
  | (ForATime & { readonly kind: "slow-links"; readonly links: readonly Link[]; readonly factor: number })
  /** Each cut link is one direction: all of them make a partition full, one-way or partial. */
  | (ForATime & { readonly kind: "partition"; readonly cut: readonly Link[] })
  | { readonly kind: "flapping"; readonly cut: readonly Link[]; readonly periodMs: number; readonly times: number }
  | { readonly kind: "crash"; readonly victims: readonly Victim[]; readonly when: CrashWhen }
  | (ForATime & { readonly kind: "slow-disk"; readonly node: NodeId; readonly slowness: number })
  | (ForATime & { readonly kind: "pause"; readonly node: NodeId });

export type Link = readonly [source: NodeId, target: NodeId];

export interface PlannedFault {
  readonly atMs: number;
  readonly fault: Fault;
}

const FAULTS_MIN = 5;
const FAULTS_SPAN = 5;
/** The cluster forms in peace in most runs. */
const FIRST_FAULT_MS_MAX = 1_500;
const GAP_MS_MAX = 1_200;

/** How links behave during all of a run's faults. */
export function drawBaseProfile(random: Random): LinkProfile {
  const level = random.below(3);
  return level === 0 ? CALM_LINKS : drawProfile(random, level === 1 ? 0.3 : 1);
}

export function planFaults(random: Random, nodes: readonly NodeId[]): readonly PlannedFault[] {
  const count = FAULTS_MIN + random.below(FAULTS_SPAN);
  const plan: PlannedFault[] = [];
  let atMs = random.next() * FIRST_FAULT_MS_MAX;
  for (let index = 0; index < count; index += 1) {
    // Every run crashes something: without restarts half of the rules are idle.
    const fault = index === 1 ? drawCrash(random, nodes) : drawFault(random, nodes);
    plan.push({ atMs, fault });
    atMs += random.next() * GAP_MS_MAX;
  }
  return plan;
}

function drawFault(random: Random, nodes: readonly NodeId[]): Fault {
  const kind = random.below(nodes.length === 1 ? 4 : 10);
  const durationMs = 100 + random.next() * 2_500;
  if (kind <= 1) return drawCrash(random, nodes);
  if (kind === 2) {
    return { kind: "slow-disk", node: pick(random, nodes), slowness: 5 + random.next() * 200, durationMs };
  }
  if (kind === 3) return { kind: "pause", node: pick(random, nodes), durationMs };
  if (kind === 4) return { kind: "links", profile: drawProfile(random, 1), durationMs };
  if (kind === 5) {
    return { kind: "slow-links", links: drawLinks(random, nodes), factor: 5 + random.below(200), durationMs };
  }
  if (kind === 6) {
    return { kind: "flapping", cut: drawCut(random, nodes), periodMs: 20 + random.below(400), times: 6 };
  }
  return { kind: "partition", cut: drawCut(random, nodes), durationMs };
}

function drawCrash(random: Random, nodes: readonly NodeId[]): Fault {
  const shuffled = shuffle(random, nodes);
  const minority = Math.max(1, Math.ceil(nodes.length / 2) - 1);
  const sizes = [1, 1, minority, Math.floor(nodes.length / 2) + 1, nodes.length, nodes.length];
  const victims = shuffled.slice(0, pick(random, sizes)).map((node) => {
    return { node, restartAfterMs: 5 + random.next() * random.next() * 3_000 };
  });
  const moments: readonly CrashMoment[] = ["proposed", "ballot-durable", "decided", "applied", "acknowledged"];
  const isNow = random.below(3) === 0;
  const moment = pick(random, moments);
  const when: CrashWhen = isNow ? { kind: "now" } : { kind: "at", moment, skip: random.below(6) };
  return { kind: "crash", victims, when };
}

function drawProfile(random: Random, strength: number): LinkProfile {
  const sometimes = (): number => (random.below(2) === 0 ? 0 : random.next() * strength);
  return {
    lossRate: sometimes() * 0.3,
    duplicateRate: sometimes() * 0.3,
    reorderRate: sometimes(),
    delayMsMin: 0.05,
    delayMsMean: 0.1 + random.next() * 5 * strength,
    tailRate: sometimes() * 0.05,
    tailMsMax: 20 + random.next() * 600,
  };
}

/** Cuts the nodes in two sides, both ways or one way, or cuts single links, so that views differ. */
function drawCut(random: Random, nodes: readonly NodeId[]): readonly Link[] {
  const mode = random.below(4);
  if (mode === 3) return drawLinks(random, nodes);
  const shuffled = shuffle(random, nodes);
  const size = 1 + random.below(nodes.length - 1);
  const links: Link[] = [];
  for (const left of shuffled.slice(0, size)) {
    for (const right of shuffled.slice(size)) {
      if (mode !== 1) links.push([left, right]);
      if (mode !== 2) links.push([right, left]);
    }
  }
  return links;
}

function drawLinks(random: Random, nodes: readonly NodeId[]): readonly Link[] {
  const links: Link[] = [];
  for (const source of nodes) {
    for (const target of nodes) if (source !== target && random.below(3) === 0) links.push([source, target]);
  }
  return links;
}

function pick<T>(random: Random, items: readonly T[]): T {
  return present(items[random.below(items.length)], "there is something to pick from");
}

function shuffle<T>(random: Random, items: readonly T[]): readonly T[] {
  const keyed = items.map((item) => ({ item, key: random.next() }));
  return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item);
}
