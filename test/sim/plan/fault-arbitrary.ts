// Owns: drawing single faults. Does not own: how many, and when (plan-arbitrary.ts).
import fc from "fast-check";
import type { LinkProfile } from "../../../src/testkit/sim/sim-network.ts";
import { CRASH_MOMENTS, type Fault, type Link, type Victim } from "../nemesis/faults.ts";

const NODES_MAX = 5;
const HOUR_MS = 3_600_000;
/** Usual faults are over within this time. */
const SHORT_MS_MAX = 2_600;
const LONG_PAUSE_MS = 30_000;
const LONG_FSYNC_MS = 2_000;

const node = fc.nat(NODES_MAX - 1);
const durationMs = fc.integer({ min: 100, max: SHORT_MS_MAX });

export function faultArbitrary(): fc.Arbitrary<Fault> {
  return fc.oneof(
    { weight: 5, arbitrary: crashArbitrary() },
    { weight: 5, arbitrary: partitionArbitrary() },
    { weight: 4, arbitrary: networkArbitrary() },
    { weight: 3, arbitrary: slownessArbitrary() },
    { weight: 3, arbitrary: diskArbitrary() },
    { weight: 1, arbitrary: clockArbitrary() },
    { weight: 2, arbitrary: choiceArbitrary() },
    { weight: 5, arbitrary: membersArbitrary() },
  );
}

/** One node, a minority, a majority or all, now or at a step of the first of them. */
export function crashArbitrary(): fc.Arbitrary<Fault> {
  const restartAfterMs = fc.oneof({ weight: 2, arbitrary: fc.nat(300) }, { weight: 1, arbitrary: fc.nat(3_000) });
  const when = fc.oneof(
    { weight: 1, arbitrary: fc.constant({ kind: "now" } as const) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("at" as const),
        moment: fc.constantFrom(...CRASH_MOMENTS),
        skip: fc.nat(6),
      }),
    },
  );
  return fc
    .tuple(fc.constantFrom(1, 1, 1, 2, 2, 3, 5, 5), fc.nat(NODES_MAX - 1), when, fc.array(restartAfterMs, FIVE))
    .map(([count, first, moment, delays]): Fault => {
      const victims = delays.slice(0, count).map((delayMs, index): Victim => {
        return { node: (first + index) % NODES_MAX, restartAfterMs: 5 + delayMs };
      });
      return { kind: "crash", victims, when: moment };
    });
}

const FIVE = { minLength: NODES_MAX, maxLength: NODES_MAX };

function partitionArbitrary(): fc.Arbitrary<Fault> {
  const cut = cutArbitrary();
  return fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("partition" as const), cut, durationMs }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("flapping" as const),
        cut,
        periodMs: fc.integer({ min: 20, max: 420 }),
        times: fc.integer({ min: 1, max: 6 }),
      }),
    },
  );
}

/** Cuts the nodes in two sides, both ways or one way, or cuts single links, so that views differ. */
function cutArbitrary(): fc.Arbitrary<readonly Link[]> {
  const side = fc.integer({ min: 1, max: 2 ** NODES_MAX - 2 });
  const sides = fc.tuple(side, fc.constantFrom("both", "out", "in")).map(([mask, mode]) => {
    return allLinks().filter(([source, target]) => {
      const [near, far] = [(mask >> source) & 1, (mask >> target) & 1];
      if (near === far) return false;
      return mode === "both" || (mode === "out" ? near === 1 : far === 1);
    });
  });
  return fc.oneof({ weight: 3, arbitrary: sides }, { weight: 1, arbitrary: someLinks() });
}

function someLinks(): fc.Arbitrary<readonly Link[]> {
  return fc.subarray([...allLinks()], { minLength: 1, maxLength: 10 });
}

function allLinks(): readonly Link[] {
  const nodes = Array.from({ length: NODES_MAX }, (_, index) => index);
  return nodes.flatMap((source) => nodes.filter((target) => target !== source).map((target): Link => [source, target]));
}

function networkArbitrary(): fc.Arbitrary<Fault> {
  const factor = fc.integer({ min: 5, max: 205 });
  return fc.oneof(
    fc.record({ kind: fc.constant("links" as const), profile: linksArbitrary(1), durationMs }),
    fc.record({ kind: fc.constant("slow-links" as const), links: someLinks(), factor, durationMs }),
  );
}

function slownessArbitrary(): fc.Arbitrary<Fault> {
  const pauseMs = fc.oneof(
    { weight: 9, arbitrary: durationMs },
    { weight: 1, arbitrary: fc.integer({ min: SHORT_MS_MAX, max: LONG_PAUSE_MS }) },
  );
  return fc.oneof(
    fc.record({ kind: fc.constant("pause" as const), node, durationMs: pauseMs }),
    fc.record({
      kind: fc.constant("slow-disk" as const),
      node,
      slowness: fc.integer({ min: 5, max: 205 }),
      durationMs,
    }),
    fc.record({
      kind: fc.constant("stalled-disk" as const),
      node,
      durationMs: fc.integer({ min: 100, max: LONG_FSYNC_MS }),
    }),
  );
}

function diskArbitrary(): fc.Arbitrary<Fault> {
  return fc.oneof(
    fc.record({
      kind: fc.constant("failing-disk" as const),
      node,
      reason: fc.constantFrom("io" as const, "full" as const),
      durationMs,
    }),
    fc.record({ kind: fc.constant("rotten-disk" as const), node, bits: fc.integer({ min: 1, max: 8 }), durationMs }),
    fc.record({ kind: fc.constant("wiped-disk" as const), node, durationMs }),
    fc.record({
      kind: fc.constant("old-disk" as const),
      node,
      ageMs: fc.integer({ min: 100, max: 2_000 }),
      durationMs,
    }),
  );
}

function clockArbitrary(): fc.Arbitrary<Fault> {
  return fc.oneof(
    fc.record({
      kind: fc.constant("clock-jump" as const),
      node,
      clock: fc.constant("wall" as const),
      byMs: fc.integer({ min: -HOUR_MS, max: HOUR_MS }),
    }),
    fc.record({
      kind: fc.constant("clock-jump" as const),
      node,
      clock: fc.constant("monotonic" as const),
      byMs: fc.nat(HOUR_MS),
    }),
    fc.record({ kind: fc.constant("clock-rate" as const), node, rate: fc.constantFrom(1.1, 0.9, 0.5, 2), durationMs }),
  );
}

function membersArbitrary(): fc.Arbitrary<Fault> {
  return fc.oneof(
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("promote" as const), node }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("remove" as const), node }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("remove" as const), node, rejoinAfterMs: fc.nat(500) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("replace" as const), node, restartAfterMs: fc.nat(2_000) }) },
  );
}

function choiceArbitrary(): fc.Arbitrary<Fault> {
  return fc.oneof(
    fc.record({ kind: fc.constant("wrong-convener" as const), node, convener: node, durationMs }),
    fc.record({
      kind: fc.constant("bad-coins" as const),
      side: fc.constantFrom("heads" as const, "tails" as const, "differ" as const),
      durationMs,
    }),
  );
}

export function linksArbitrary(strength: number): fc.Arbitrary<LinkProfile> {
  const sometimes = (max: number): fc.Arbitrary<number> => {
    return fc.oneof(fc.constant(0), fc.nat(1_000).map((share) => (share / 1_000) * max * strength));
  };
  return fc.record({
    lossRate: sometimes(0.3),
    duplicateRate: sometimes(0.3),
    reorderRate: sometimes(1),
    delayMsMin: fc.constant(0.05),
    delayMsMean: fc.nat(500).map((share) => 0.1 + (share / 100) * strength),
    tailRate: sometimes(0.05),
    tailMsMax: fc.integer({ min: 20, max: 620 }),
  });
}
