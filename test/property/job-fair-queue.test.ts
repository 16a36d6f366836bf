// Whatever comes and goes: a job that may run is picked after a bounded number of others.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseJobId } from "../../src/base/ids.ts";
import { CLASS_WEIGHTS, FairQueue, type FairEntry } from "../../src/jobs/core/flow/fair-queue.ts";
import { QUEUE_CLASSES, type QueueClass } from "../../src/jobs/core/rows.ts";

const any = (): boolean => true;

/** Of picks between two of one class that always has jobs: what the others' strides fit into its own, and one each. */
function turnsMax(queueClass: QueueClass): number {
  const others = QUEUE_CLASSES.filter((name) => name !== queueClass);
  return others.reduce((sum, name) => sum + Math.ceil(CLASS_WEIGHTS[name] / CLASS_WEIGHTS[queueClass]) + 1, 0);
}

const arrival = fc.record({
  queueClass: fc.constantFrom(...QUEUE_CLASSES),
  tenant: fc.constantFrom("a", "b", "c"),
  agent: fc.constantFrom("x", "y"),
  priority: fc.integer({ min: -2, max: 2 }),
  sinceMs: fc.nat(20),
});

test("no class and no tenant that has jobs waits for more than its turn", () => {
  const rounds = fc.array(fc.array(arrival, { maxLength: 6 }), { minLength: 60, maxLength: 120 });
  fc.assert(fc.property(fc.constantFrom(...QUEUE_CLASSES), rounds, (watched, arrivals) => {
    const queue = new FairQueue<FairEntry>();
    let count = 0;
    const put = (entry: Omit<FairEntry, "job">): void => queue.put({ ...entry, job: parseJobId(`j${count++}`) });
    // Tenants a and b of the class always have a job; theirs is never the best one of the queue.
    const own = { queueClass: watched, agent: "x", priority: -9, sinceMs: 99 };
    put({ ...own, tenant: "a" });
    put({ ...own, tenant: "b" });
    let sinceClass = 0;
    let sinceA = 0;
    for (const some of arrivals) {
      for (const entry of some) put(entry);
      const picked = queue.pick(any);
      if (picked === undefined) throw new RangeError("there are jobs that may run");
      if (picked.queueClass === watched) {
        sinceClass = 0;
        sinceA = picked.tenant === "a" ? 0 : sinceA + 1;
        if (picked.tenant !== "c") put({ ...own, tenant: picked.tenant });
      } else {
        sinceClass += 1;
      }
      expect(sinceClass).toBeLessThanOrEqual(turnsMax(watched));
      expect(sinceA).toBeLessThanOrEqual(2);
    }
  }), { numRuns: 60 });
});

test("each job is picked once, and within its tenant and class none before a better one of its agent", () => {
  fc.assert(fc.property(fc.array(arrival, { maxLength: 60 }), (arrivals) => {
    const queue = new FairQueue<FairEntry>();
    arrivals.forEach((entry, at) => queue.put({ ...entry, job: parseJobId(`j${at}`) }));
    const picked: FairEntry[] = [];
    for (let next = queue.pick(any); next !== undefined; next = queue.pick(any)) picked.push(next);
    expect(new Set(picked.map(({ job }) => job)).size).toBe(arrivals.length);
    const lines = new Map<string, FairEntry>();
    for (const entry of picked) {
      const name = `${entry.queueClass}/${entry.tenant}`;
      const before = lines.get(name);
      lines.set(name, entry);
      if (before === undefined) continue;
      const isInOrder = before.priority > entry.priority ||
        (before.priority === entry.priority && before.sinceMs <= entry.sinceMs);
      expect(isInOrder).toBe(true);
    }
  }), { numRuns: 100 });
});
