// Owns: what may go wrong in a run, as plain data that can be printed, shrunk and read back. Nodes are numbers from 0;
// what names a node that a run does not have, does nothing. Does not own: drawing faults (plan/), carrying them out.
import type { LinkProfile } from "../../../src/testkit/sim/sim-network.ts";

/** A step of a node at which a crash is most likely to hurt. */
export type CrashMoment =
  | "proposed"
  /** A write was given to the disk and is not there yet: it may or may not survive. */
  | "journal-queued"
  /** The ballot is on disk, and nobody was told. */
  | "ballot-durable"
  /** The ballot is under way to the others: those whose connection breaks at once do not get it. */
  | "ballot-sent"
  | "decided"
  | "applied"
  | "acknowledged"
  | "checkpoint-queued"
  | "checkpoint-durable"
  /** The state of another node was installed here. */
  | "installed";

export const CRASH_MOMENTS: readonly CrashMoment[] = [
  "proposed",
  "journal-queued",
  "ballot-durable",
  "ballot-sent",
  "decided",
  "applied",
  "acknowledged",
  "checkpoint-queued",
  "checkpoint-durable",
  "installed",
];

export type CrashWhen =
  | { readonly kind: "now" }
  /** At the `skip`-th such step from now on, of the first victim. */
  | { readonly kind: "at"; readonly moment: CrashMoment; readonly skip: number };

export interface Victim {
  readonly node: number;
  readonly restartAfterMs: number;
}

interface ForATime {
  readonly durationMs: number;
}

interface OfNode {
  readonly node: number;
}

/** One direction. */
export type Link = readonly [source: number, target: number];

export type Fault =
  | (ForATime & { readonly kind: "links"; readonly profile: LinkProfile })
  | (ForATime & { readonly kind: "slow-links"; readonly links: readonly Link[]; readonly factor: number })
  /** All cut links together make a partition full, one-way or partial. */
  | (ForATime & { readonly kind: "partition"; readonly cut: readonly Link[] })
  | { readonly kind: "flapping"; readonly cut: readonly Link[]; readonly periodMs: number; readonly times: number }
  | { readonly kind: "crash"; readonly victims: readonly Victim[]; readonly when: CrashWhen }
  | (ForATime & OfNode & { readonly kind: "pause" })
  | (ForATime & OfNode & { readonly kind: "slow-disk"; readonly slowness: number })
  /** The next fsync takes this long. */
  | (ForATime & OfNode & { readonly kind: "stalled-disk" })
  /** Every write fails, with an I/O error or for want of space, until the disk is exchanged or has space again. */
  | (ForATime & OfNode & { readonly kind: "failing-disk"; readonly reason: "io" | "full" })
  /** The node goes down and comes back with some bits of a store turned; later the right bits are back. */
  | (ForATime & OfNode & { readonly kind: "rotten-disk"; readonly bits: number })
  /** The node comes back with empty disks; later with its own. */
  | (ForATime & OfNode & { readonly kind: "wiped-disk" })
  /** The node comes back with its disks of `ageMs` ago; later with its own. */
  | (ForATime & OfNode & { readonly kind: "old-disk"; readonly ageMs: number })
  /** `wall` alone may go back; the other one is monotonic. */
  | (OfNode & { readonly kind: "clock-jump"; readonly clock: "wall" | "monotonic"; readonly byMs: number })
  | (ForATime & OfNode & { readonly kind: "clock-rate"; readonly rate: number })
  /** Somebody makes a voter of a node, or takes it out of the cluster; it comes back with an empty disk, if it does. */
  | (OfNode & { readonly kind: "promote" })
  | (OfNode & { readonly kind: "remove"; readonly rejoinAfterMs?: number })
  /** The disk of a node is gone for good: it is started with an empty one, and takes its own place. */
  | (OfNode & { readonly kind: "replace"; readonly restartAfterMs: number })
  /** A node takes another one for the convener, whoever it should be. */
  | (ForATime & OfNode & { readonly kind: "wrong-convener"; readonly convener: number })
  /** The coins of later phases fall as badly as they can: all one side, or on each node another. */
  | (ForATime & { readonly kind: "bad-coins"; readonly side: "heads" | "tails" | "differ" });

export interface PlannedFault {
  readonly atMs: number;
  readonly fault: Fault;
}
