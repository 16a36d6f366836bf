// Owns: two hours of every series in memory: a value per second for ten minutes, then one per ten seconds.
// M2  Its memory is bounded, whatever is put into it: SERIES_MAX × (FINE + COARSE) × 4 bytes.
// M6  Series of nodes and methods leave room for those of the cluster and its slices, by which is decided.
//
// All series share one axis of places, a second each. Snapshots come about once a second by another node's timer: one
// that comes a little early or late takes the next place all the same, so that a chart has no holes and no doubles.
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../../base/units.ts";

export interface Point {
  /** By the clock that was given with the snapshots. */
  readonly atMs: number;
  readonly value: number;
}

/** Series beyond these are not kept, until others have had no value for two hours. */
export const SERIES_MAX = 2_000;
/** Of those, series of nodes at most, and of methods: many nodes or methods are no reason to scale no slice. */
export const NODE_SERIES_MAX = 900;
export const METHOD_SERIES_MAX = 600;
export const FINE_MS = 10 * MINUTE_MS;
export const WINDOW_MS = 2 * HOUR_MS;
/** What one place of the coarse part stands for. */
export const COARSE_MS = 10 * SECOND_MS;

const FINE = FINE_MS / SECOND_MS;
const COARSE = WINDOW_MS / COARSE_MS;
const PER_COARSE = COARSE_MS / SECOND_MS;

interface Series {
  readonly fine: Float32Array;
  readonly coarse: Float32Array;
  /** The last place with a value. */
  lastPlace: number;
}

export class Window {
  private readonly isPeak: (series: string) => boolean;
  private readonly series = new Map<string, Series>();
  private readonly kept = { node: 0, method: 0, other: 0 };
  /** Where place 0 is; undefined before the first values. */
  private originMs: number | undefined;
  /** The newest place. */
  private head = -1;

  /** `isPeak`: of several seconds the highest value is kept, not the mean. */
  constructor(isPeak: (series: string) => boolean) {
    this.isPeak = isPeak;
  }

  get names(): readonly string[] {
    return [...this.series.keys()].sort();
  }

  get bytes(): number {
    return this.series.size * (FINE + COARSE) * Float32Array.BYTES_PER_ELEMENT;
  }

  put(values: ReadonlyMap<string, number>, nowMs: number): void {
    this.moveTo(this.placeOf(nowMs));
    for (const [name, value] of values) {
      const series = this.series.get(name) ?? this.create(name);
      if (series === undefined) continue;
      series.fine[this.head % FINE] = value;
      series.lastPlace = this.head;
    }
  }

  /** Values that are at most so old, oldest first. From beyond ten minutes each stands for ten seconds. */
  points(name: string, sinceMs: number, nowMs: number): readonly Point[] {
    const series = this.series.get(name);
    if (series === undefined) return [];
    const from = this.placeAt(nowMs - Math.min(sinceMs, WINDOW_MS));
    const fineFrom = Math.max(0, this.head - FINE + 1);
    const points: Point[] = [];
    // Those whose seconds are all still there are told as seconds.
    const coarseEnd = Math.ceil(fineFrom / PER_COARSE);
    const coarseFrom = Math.max(0, Math.floor(from / PER_COARSE), Math.ceil((this.head + 1) / PER_COARSE) - COARSE);
    for (let group = coarseFrom; group < coarseEnd; group++) {
      this.addPoint(points, group * PER_COARSE, series.coarse[group % COARSE]);
    }
    for (let place = Math.max(from, coarseEnd * PER_COARSE); place <= this.head; place++) {
      this.addPoint(points, place, series.fine[place % FINE]);
    }
    return points;
  }

  private addPoint(points: Point[], place: number, value: number | undefined): void {
    if (value === undefined || Number.isNaN(value)) return;
    points.push({ atMs: (this.originMs ?? 0) + place * SECOND_MS, value });
  }

  private placeAt(atMs: number): number {
    return this.originMs === undefined ? 0 : Math.max(0, Math.ceil((atMs - this.originMs) / SECOND_MS));
  }

  /** The next one, unless that were more than a second from the truth. */
  private placeOf(nowMs: number): number {
    this.originMs ??= nowMs;
    const exact = (nowMs - this.originMs) / SECOND_MS;
    const next = this.head + 1;
    if (Math.abs(exact - next) <= 1) return next;
    return exact > next ? Math.floor(exact) : Math.max(0, this.head);
  }

  private moveTo(place: number): void {
    // After a long silence every place is empty: no need to go through each.
    if (place - this.head > WINDOW_MS / SECOND_MS) {
      this.series.clear();
      Object.assign(this.kept, { node: 0, method: 0, other: 0 });
      this.head = place;
    }
    while (this.head < place) {
      this.head += 1;
      if (this.head % PER_COARSE === 0) this.closeGroup(this.head / PER_COARSE - 1);
      for (const { fine } of this.series.values()) fine[this.head % FINE] = Number.NaN;
    }
  }

  /** Ten seconds are over: their one value is kept, and series without any for two hours go. */
  private closeGroup(group: number): void {
    if (group < 0) return;
    for (const [name, { fine, coarse, lastPlace }] of this.series) {
      if (this.head - lastPlace > WINDOW_MS / SECOND_MS) this.forget(name);
      else coarse[group % COARSE] = this.summary(name, fine, group * PER_COARSE);
    }
  }

  private summary(name: string, fine: Float32Array, from: number): number {
    let count = 0;
    let sum = 0;
    let most = -Infinity;
    for (let place = from; place < from + PER_COARSE; place++) {
      const value = fine[place % FINE] ?? Number.NaN;
      if (Number.isNaN(value)) continue;
      count += 1;
      sum += value;
      most = Math.max(most, value);
    }
    if (count === 0) return Number.NaN;
    return this.isPeak(name) ? most : sum / count;
  }

  private create(name: string): Series | undefined {
    const kind = kindOf(name);
    if (this.series.size >= SERIES_MAX || this.kept[kind] >= MOST[kind]) return undefined;
    this.kept[kind] += 1;
    const series = {
      fine: new Float32Array(FINE).fill(Number.NaN),
      coarse: new Float32Array(COARSE).fill(Number.NaN),
      lastPlace: this.head,
    };
    this.series.set(name, series);
    return series;
  }

  private forget(name: string): void {
    this.series.delete(name);
    this.kept[kindOf(name)] -= 1;
  }
}

const MOST = { node: NODE_SERIES_MAX, method: METHOD_SERIES_MAX, other: SERIES_MAX } as const;

function kindOf(name: string): keyof typeof MOST {
  if (name.startsWith("node/")) return "node";
  return name.startsWith("method/") ? "method" : "other";
}
