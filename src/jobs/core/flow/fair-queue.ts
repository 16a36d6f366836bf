// Owns: in which order jobs that wait get to run: classes by their weights, tenants of a class in turn, and of each
// tenant the higher priority first, then who waits longer. Does not own: which jobs may run now (the caller says).
//
// Each class has a place where its next turn is, a stride after the one before, and the first of them is next. A class
// that had nothing to run begins where the others are: it has not saved up turns.
import { present } from "../../../base/assert.ts";
import type { JobId } from "../../../base/ids.ts";
import { QUEUE_CLASSES, type QueueClass } from "../rows.ts";
import { SortedList } from "./sorted-list.ts";

export interface FairEntry {
  readonly job: JobId;
  readonly agent: string;
  readonly tenant: string;
  readonly queueClass: QueueClass;
  /** Higher goes first, within its tenant and class. */
  readonly priority: number;
  readonly sinceMs: number;
}

/** Of a hundred jobs that begin while all classes have some, so many are of each. */
export const CLASS_WEIGHTS: Readonly<Record<QueueClass, number>> = {
  realtime: 70, default: 20, background: 8, heavy: 2,
};
/** A multiple of all weights, so that strides are whole numbers. */
const STRIDE_TOTAL = 280;

interface ClassState<T> {
  readonly stride: number;
  turn: number;
  /** In the order of their turns. */
  readonly tenants: Map<string, TenantJobs<T>>;
}

/** Jobs of one agent may run at once or not: each agent has its own line. */
type TenantJobs<T> = Map<string, SortedList<T>>;

export class FairQueue<T extends FairEntry> {
  private readonly jobs = new Map<JobId, T>();
  private readonly classes: ReadonlyMap<QueueClass, ClassState<T>>;
  /** The turn that was taken last. */
  private reached = 0;

  constructor() {
    this.classes = new Map(QUEUE_CLASSES.map((name) =>
      [name, { stride: STRIDE_TOTAL / CLASS_WEIGHTS[name], turn: 0, tenants: new Map() }]));
  }

  get size(): number {
    return this.jobs.size;
  }

  has(job: JobId): boolean {
    return this.jobs.has(job);
  }

  /** What was known of the job before is forgotten. */
  put(entry: T): void {
    this.remove(entry.job);
    const state = this.stateOf(entry);
    if (state.tenants.size === 0) state.turn = Math.max(state.turn, this.reached + state.stride);
    const tenant = ofMap(state.tenants, entry.tenant, () => new Map<string, SortedList<T>>());
    ofMap(tenant, entry.agent, () => new SortedList<T>(inOrder)).add(entry);
    this.jobs.set(entry.job, entry);
  }

  remove(job: JobId): void {
    const entry = this.jobs.get(job);
    if (entry === undefined) return;
    this.jobs.delete(job);
    const { tenants } = this.stateOf(entry);
    const agents = tenants.get(entry.tenant);
    const line = agents?.get(entry.agent);
    line?.remove(entry);
    if (line?.size === 0) agents?.delete(entry.agent);
    if (agents?.size === 0) tenants.delete(entry.tenant);
  }

  /** The next job, which is taken out. `mayRun` is asked of the first of each agent's jobs. */
  pick(mayRun: (entry: T) => boolean): T | undefined {
    const skipped: ClassState<T>[] = [];
    for (const state of this.inTurn()) {
      const found = nextOf(state, mayRun);
      if (found === undefined) {
        skipped.push(state);
        continue;
      }
      this.reached = state.turn;
      state.turn += state.stride;
      // Turns that a class could not use are gone.
      for (const other of skipped) other.turn = Math.max(other.turn, this.reached);
      this.moveBack(state, found);
      this.remove(found.job);
      return found;
    }
    return undefined;
  }

  /** Whether `pick` would find one. */
  hasOne(mayRun: (entry: T) => boolean): boolean {
    return [...this.classes.values()].some((state) => nextOf(state, mayRun) !== undefined);
  }

  private inTurn(): readonly ClassState<T>[] {
    // Of two with the same turn the one that is named first goes first: sorting keeps their order.
    return [...this.classes.values()].filter(({ tenants }) => tenants.size > 0).sort((a, b) => a.turn - b.turn);
  }

  /** The tenant is the last one of its class now. */
  private moveBack({ tenants }: ClassState<T>, { tenant }: T): void {
    const jobs = tenants.get(tenant);
    if (jobs === undefined) return;
    tenants.delete(tenant);
    tenants.set(tenant, jobs);
  }

  private stateOf({ queueClass }: T): ClassState<T> {
    return present(this.classes.get(queueClass), "every class has its state");
  }
}

function nextOf<T extends FairEntry>(
  { tenants }: ClassState<T>, mayRun: (entry: T) => boolean,
): T | undefined {
  for (const agents of tenants.values()) {
    let best: T | undefined;
    for (const { first } of agents.values()) {
      if (first === undefined || (best !== undefined && inOrder(best, first) < 0)) continue;
      if (mayRun(first)) best = first;
    }
    if (best !== undefined) return best;
  }
  return undefined;
}

function inOrder(a: FairEntry, b: FairEntry): number {
  const byRank = b.priority - a.priority || a.sinceMs - b.sinceMs;
  if (byRank !== 0 || a.job === b.job) return byRank;
  return a.job < b.job ? -1 : 1;
}

function ofMap<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key) ?? make();
  map.set(key, found);
  return found;
}
