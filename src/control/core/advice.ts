// Owns: what a controller is told, what it answers, and what became of that: plain data, each with its reason.
import type { MetricWindow } from "./metric-window.ts";

/** How one slice stands, as the rows say. */
export interface SliceFacts {
  readonly blueprint: string;
  /** What its blueprint says. 0: somebody switched it off. */
  readonly base: number;
  /** What it is to have now: the blueprint's count, or what it was scaled to. */
  readonly instances: number;
  /** How many of them serve. */
  readonly active: number;
  readonly minAvailable: number;
  /** Whether a new version takes the place of an old one. */
  readonly isRollingOut: boolean;
  /** Somebody keeps it as it is: who. */
  readonly pinnedBy: string | undefined;
  /** Its last change by control. */
  readonly change: LastChange | undefined;
}

export interface LastChange {
  readonly direction: "up" | "down";
  readonly agoMs: number;
}

export interface ClusterFacts {
  readonly hasQuorum: boolean;
  /** Nodes that take instances. */
  readonly nodes: number;
  /** Nodes that are being emptied, or about to stop. */
  readonly draining: readonly string[];
  /** Somebody stopped all control: who. */
  readonly pausedBy: string | undefined;
}

/** Something that happened lately, for controllers that read. */
export interface RecentEvent {
  readonly atMs: number;
  readonly source: string;
  readonly text: string;
}

/** All that a controller decides from. */
export interface ControlContext {
  /** By the clock of the window. */
  readonly nowMs: number;
  readonly window: MetricWindow;
  readonly slices: ReadonlyMap<string, SliceFacts>;
  readonly cluster: ClusterFacts;
  readonly events: readonly RecentEvent[];
}

/** What a controller would do with one slice. */
export interface Advice {
  readonly slice: string;
  /** How many instances it is to have. Not checked: bounds do that. */
  readonly instances: number;
  /** Who says so: `rule orders-up`, `model gpt-4o-mini`, `blueprint`, `bounds`. */
  readonly source: string;
  readonly reason: string;
  /** Least time since the last change of the slice. */
  readonly cooldownMs?: number;
  /** No further than that, within the bounds of the slice. */
  readonly min?: number | undefined;
  readonly max?: number | undefined;
}

/** Something a controller could not decide, and why: metrics that are missing or stale. */
export interface Undecided {
  readonly slice: string;
  readonly source: string;
  readonly reason: string;
}

export interface Advised {
  /** At most one of each slice. */
  readonly advice: readonly Advice[];
  readonly undecided: readonly Undecided[];
}

export interface ClusterController {
  decide(context: ControlContext): Advised;
}

/** Why advice is not followed. */
export type RefusalCode =
  | "no-such-slice" | "no-count" | "paused" | "pinned" | "no-quorum" | "switched-off" | "rollout" | "draining"
  | "at-min" | "at-max" | "settling" | "cooldown" | "reversal";

/** What became of one advice. */
export type Decision =
  | {
      readonly kind: "scale";
      readonly slice: string;
      readonly source: string;
      readonly from: number;
      readonly to: number;
      readonly reason: string;
    }
  | {
      readonly kind: "refused";
      readonly slice: string;
      readonly source: string;
      readonly code: RefusalCode;
      /** What was advised, as it came. */
      readonly wanted: number;
      readonly reason: string;
    }
  | { readonly kind: "undecided"; readonly slice: string; readonly source: string; readonly reason: string };
