// Owns: one slice under control without a cluster: a load per second, instances that come and go at once, and what a
// controller decides second by second.
import type { ClusterController, ClusterFacts, Decision, SliceFacts } from "../../src/control/core/advice.ts";
import { decide } from "../../src/control/core/decide.ts";
import type { MetricName } from "../../src/control/core/metric-window.ts";
import type { RuleSet } from "../../src/control/core/rules.ts";

export const CALM: ClusterFacts = { hasQuorum: true, nodes: 3, draining: [], pausedBy: undefined };

export interface PlaySlice {
  readonly base: number;
  readonly minAvailable?: number;
}

/** What is measured in one second, by metric; undefined: nothing came. */
export type Load = (second: number, instances: number) => Readonly<Partial<Record<MetricName, number>>> | undefined;

export interface Play {
  readonly controller: ClusterController;
  readonly rules: RuleSet;
  readonly slices: Readonly<Record<string, PlaySlice>>;
  readonly load: Readonly<Record<string, Load>>;
  readonly seconds: number;
  /** How things stand besides. */
  readonly cluster?: (second: number) => Partial<ClusterFacts>;
  readonly facts?: (second: number, slice: string) => Partial<SliceFacts>;
}

export interface Played {
  /** Instances per second. */
  readonly counts: Readonly<Record<string, readonly number[]>>;
  readonly decisions: readonly { readonly second: number; readonly decision: Decision }[];
}

export function play({ controller, rules, slices, load, seconds, cluster, facts }: Play): Played {
  const series = new Map<string, { atMs: number[]; values: number[] }>();
  const now = new Map(Object.entries(slices).map(([name, { base }]) => [name, base]));
  const changed = new Map<string, { readonly direction: "up" | "down"; readonly second: number }>();
  const counts: Record<string, number[]> = Object.fromEntries(Object.keys(slices).map((name) => [name, []]));
  const decisions: { readonly second: number; readonly decision: Decision }[] = [];
  for (let second = 0; second < seconds; second++) {
    for (const [slice, loadOf] of Object.entries(load)) {
      for (const [metric, value] of Object.entries(loadOf(second, now.get(slice) ?? 0) ?? {})) {
        const points = series.get(`${metric} ${slice}`) ?? { atMs: [], values: [] };
        points.atMs.push(second * 1_000);
        points.values.push(value);
        series.set(`${metric} ${slice}`, points);
      }
    }
    const known = Object.entries(slices).map(([slice, { base, minAvailable = 0 }]): [string, SliceFacts] => {
      const instances = now.get(slice) ?? base;
      const last = changed.get(slice);
      const change = last && { direction: last.direction, agoMs: (second - last.second) * 1_000 };
      return [slice, {
        blueprint: "shop", base, instances, active: instances, minAvailable, isRollingOut: false, pinnedBy: undefined,
        change, ...facts?.(second, slice),
      }];
    });
    const made = decide(controller, {
      nowMs: second * 1_000,
      window: { series: (metric, slice) => series.get(`${metric} ${slice}`) },
      slices: new Map(known),
      cluster: { ...CALM, ...cluster?.(second) },
      events: [],
    }, rules);
    for (const decision of made) {
      decisions.push({ second, decision });
      if (decision.kind !== "scale") continue;
      now.set(decision.slice, decision.to);
      changed.set(decision.slice, { direction: decision.to > decision.from ? "up" : "down", second });
    }
    for (const [slice, count] of now) counts[slice]?.push(count);
  }
  return { counts, decisions };
}
