// Owns: playing a recorded load through a controller: what it would have decided, second by second, with the same
// bounds as in a cluster. What a recording cannot say is taken as simple: instances come and go at once, and a metric
// that they share is divided anew among those that there would be.
import { SECOND_MS } from "../../base/units.ts";
import type { ClusterController, Decision, LastChange, SliceFacts } from "./advice.ts";
import { decide } from "./decide.ts";
import { METRICS, isMetricName, type MetricWindow, type Series } from "./metric-window.ts";
import type { Recording } from "./recording.ts";
import { lookbackMsOf, type RuleSet } from "./rules.ts";

export interface SimulatedDecision {
  /** Since the recording began. */
  readonly second: number;
  readonly decision: Decision;
}

export interface Simulation {
  readonly seconds: number;
  /** What is decided alike in the next second is not said again. */
  readonly decisions: readonly SimulatedDecision[];
  readonly slices: Readonly<Record<string, SimulatedSlice>>;
}

export interface SimulatedSlice {
  readonly base: number;
  readonly least: number;
  readonly most: number;
  readonly last: number;
  readonly changes: number;
  /** Instances times seconds: what it would have cost. */
  readonly instanceSeconds: number;
}

/** A day: more in one go is a mistake of units. */
export const SIMULATED_SECONDS_MAX = 86_400;

const CALM = { hasQuorum: true, nodes: 3, draining: [], pausedBy: undefined };

export function simulate(controller: ClusterController, rules: RuleSet, recording: Recording): Simulation {
  const { fromMs, untilMs, slices } = recording;
  const seconds = Math.min(SIMULATED_SECONDS_MAX, Math.floor((untilMs - fromMs) / SECOND_MS));
  const window = new PlayedWindow(recording, lookbackMsOf(rules));
  const stands = new Map([...slices].map(([slice, { instances }]) => [slice, newStand(instances)]));
  const said = new Map<string, string>();
  const decisions: SimulatedDecision[] = [];
  for (let second = 0; second <= seconds; second++) {
    const nowMs = fromMs + second * SECOND_MS;
    window.moveTo(nowMs, new Map([...stands].map(([slice, { now }]) => [slice, now])));
    const facts = new Map([...slices].map(([slice, { instances: base, minAvailable }]) =>
      [slice, factsOf(stands.get(slice) ?? newStand(base), { base, minAvailable, second })] as const));
    for (const decision of decide(controller, { nowMs, window, slices: facts, cluster: CALM, events: [] }, rules)) {
      const key = `${decision.slice} ${decision.source}`;
      const text = decision.kind === "scale" ? `scale ${second}` : `${decision.kind} ${codeOf(decision)}`;
      if (said.get(key) === text) continue;
      said.set(key, text);
      decisions.push({ second, decision });
      const stand = stands.get(decision.slice);
      if (decision.kind !== "scale" || stand === undefined) continue;
      stands.set(decision.slice, changed(stand, decision, second));
    }
    for (const [slice, stand] of stands) {
      stands.set(slice, { ...stand, instanceSeconds: stand.instanceSeconds + stand.now });
    }
  }
  const told = [...stands].map(([slice, stand]) => [slice, toldOf(stand)] as const);
  return { seconds, decisions, slices: Object.fromEntries(told) };
}

interface Stand {
  readonly base: number;
  readonly now: number;
  readonly least: number;
  readonly most: number;
  readonly changes: number;
  readonly instanceSeconds: number;
  readonly last: { readonly direction: LastChange["direction"]; readonly second: number } | undefined;
}

function newStand(base: number): Stand {
  return { base, now: base, least: base, most: base, changes: 0, instanceSeconds: 0, last: undefined };
}

function changed(stand: Stand, { from, to }: { readonly from: number; readonly to: number }, second: number): Stand {
  const { least, most, changes } = stand;
  const last = { direction: to > from ? "up" : "down", second } as const;
  return { ...stand, now: to, least: Math.min(least, to), most: Math.max(most, to), changes: changes + 1, last };
}

function toldOf({ base, least, most, now, changes, instanceSeconds }: Stand): SimulatedSlice {
  return { base, least, most, last: now, changes, instanceSeconds };
}

function factsOf(
  { now, last }: Stand,
  { base, minAvailable, second }: { readonly base: number; readonly minAvailable: number; readonly second: number },
): SliceFacts {
  const change = last === undefined
    ? undefined
    : { direction: last.direction, agoMs: (second - last.second) * SECOND_MS };
  return {
    blueprint: "recorded", base, instances: now, active: now, minAvailable, isRollingOut: false, pinnedBy: undefined,
    change,
  };
}

function codeOf(decision: Decision): string {
  return decision.kind === "refused" ? decision.code : "";
}

/** The part of a recording that lies behind one moment. */
class PlayedWindow implements MetricWindow {
  private readonly recording: Recording;
  private readonly lookbackMs: number;
  /** Points that were played already, each divided among the instances that there were then. */
  private readonly played = new Map<string, { readonly atMs: number[]; readonly values: number[]; next: number }>();

  constructor(recording: Recording, lookbackMs: number) {
    this.recording = recording;
    this.lookbackMs = lookbackMs;
  }

  moveTo(nowMs: number, instances: ReadonlyMap<string, number>): void {
    for (const [key, { atMs, values }] of this.recording.series) {
      const shown = this.played.get(key) ?? { atMs: [], values: [], next: 0 };
      this.played.set(key, shown);
      const factor = this.shareOf(key, instances);
      for (; (atMs[shown.next] ?? Infinity) <= nowMs; shown.next++) {
        shown.atMs.push(atMs[shown.next] ?? 0);
        shown.values.push((values[shown.next] ?? 0) * factor);
      }
      while ((shown.atMs[0] ?? Infinity) < nowMs - this.lookbackMs) {
        shown.atMs.shift();
        shown.values.shift();
      }
    }
  }

  series(metric: string, slice: string): Series | undefined {
    const shown = this.played.get(slice === "" ? metric : `${metric} ${slice}`);
    return shown === undefined || shown.atMs.length === 0 ? undefined : shown;
  }

  private shareOf(key: string, instances: ReadonlyMap<string, number>): number {
    const [metric = "", slice = ""] = key.split(" ");
    if (!isMetricName(metric) || METRICS[metric].spread === "same") return 1;
    const recorded = this.recording.slices.get(slice)?.instances ?? 1;
    return recorded / (instances.get(slice) ?? recorded);
  }
}
