import { describe, expect, test } from "vitest";
import { parseJobId } from "../../../../../src/base/ids.ts";
import { ClaimQueue } from "../../../../../src/jobs/core/flow/claim-queue.ts";
import { CLASS_WEIGHTS, FairQueue, type FairEntry } from "../../../../../src/jobs/core/flow/fair-queue.ts";
import { QUEUE_CLASSES, type QueueClass } from "../../../../../src/jobs/core/rows.ts";

const any = (): boolean => true;

function entry(name: string, over: Partial<Omit<FairEntry, "job">> = {}): FairEntry {
  return {
    job: parseJobId(name), agent: "claims", tenant: "default", queueClass: "default", priority: 0, sinceMs: 1, ...over,
  };
}

function queueOf(...entries: readonly FairEntry[]): FairQueue<FairEntry> {
  const queue = new FairQueue<FairEntry>();
  for (const one of entries) queue.put(one);
  return queue;
}

function drain(queue: FairQueue<FairEntry>, mayRun: (one: FairEntry) => boolean = any): readonly string[] {
  const names: string[] = [];
  for (let next = queue.pick(mayRun); next !== undefined; next = queue.pick(mayRun)) names.push(next.job);
  return names;
}

describe("the queue", () => {
  test("shares places by the weights of classes while all have jobs", () => {
    const queue = queueOf(...QUEUE_CLASSES.flatMap((queueClass) =>
      Array.from({ length: 300 }, (_, at) => entry(`${queueClass}-${at}`, { queueClass, sinceMs: at }))));
    const counts = new Map<QueueClass, number>();
    for (let turn = 0; turn < 200; turn++) {
      const queueClass = queue.pick(any)?.queueClass ?? "default";
      counts.set(queueClass, (counts.get(queueClass) ?? 0) + 1);
    }
    for (const name of QUEUE_CLASSES) {
      expect(Math.abs((counts.get(name) ?? 0) - 2 * CLASS_WEIGHTS[name])).toBeLessThanOrEqual(1);
    }
  });

  test("lets a class that had nothing to run begin where the others are", () => {
    const queue = queueOf(...Array.from({ length: 40 }, (_, at) => entry(`d${at}`, { sinceMs: at })));
    for (let turn = 0; turn < 20; turn++) queue.pick(any);
    for (let at = 0; at < 20; at++) queue.put(entry(`b${at}`, { queueClass: "background", sinceMs: at }));
    const next = Array.from({ length: 7 }, () => queue.pick(any)?.queueClass);
    expect(next.filter((name) => name === "background").length).toBeLessThanOrEqual(3);
  });

  test("takes tenants in turn, so that one with many jobs does not keep the others waiting", () => {
    const many = Array.from({ length: 5 }, (_, at) => entry(`a${at}`, { tenant: "a", sinceMs: at }));
    const queue = queueOf(...many, entry("b0", { tenant: "b", sinceMs: 9 }), entry("c0", { tenant: "c", sinceMs: 9 }));
    expect(drain(queue)).toEqual(["a0", "b0", "c0", "a1", "a2", "a3", "a4"]);
  });

  test("takes the higher priority first, then who waits longer, whatever the agent", () => {
    const queue = queueOf(
      entry("late", { sinceMs: 3 }), entry("early", { sinceMs: 1, agent: "other" }), entry("first", { sinceMs: 2 }),
      entry("low", { priority: -1, sinceMs: 0 }), entry("high", { priority: 5, sinceMs: 9, agent: "third" }),
    );
    expect(drain(queue)).toEqual(["high", "early", "first", "late", "low"]);
  });

  test("passes over an agent whose jobs may not run, and keeps them", () => {
    const queue = queueOf(
      entry("full-1", { agent: "full", priority: 9 }), entry("full-2", { agent: "full" }), entry("free"),
    );
    const isFree = ({ agent }: FairEntry): boolean => agent !== "full";
    expect(queue.hasOne(isFree)).toBe(true);
    expect(drain(queue, isFree)).toEqual(["free"]);
    expect(queue.hasOne(isFree)).toBe(false);
    expect(drain(queue)).toEqual(["full-1", "full-2"]);
  });

  test("has a job once, with what was said of it last, and forgets it when told so", () => {
    const queue = queueOf(entry("a"), entry("b", { sinceMs: 2 }), entry("a", { sinceMs: 3 }), entry("c"));
    queue.remove(parseJobId("c"));
    queue.remove(parseJobId("c"));
    expect(queue.size).toBe(2);
    expect(drain(queue)).toEqual(["b", "a"]);
    expect(queue.size).toBe(0);
  });
});

describe("a node's way through the queue", () => {
  test("has a job from when it may be claimed, and says when that is", () => {
    const queue = new ClaimQueue<FairEntry>();
    queue.put(entry("theirs", { priority: 9 }), 80);
    queue.put(entry("ours"), 0);
    expect(queue.nextDueMs).toBe(0);
    expect(queue.take(10, any)?.job).toBe("ours");
    expect(queue.take(79, any)).toBeUndefined();
    expect([queue.hasOne(79, any), queue.nextDueMs, queue.hasOne(80, any)]).toEqual([false, 80, true]);
    expect(queue.take(80, any)?.job).toBe("theirs");
    expect(queue.nextDueMs).toBeUndefined();
  });

  test("forgets a job wherever it is, and takes the later word", () => {
    const queue = new ClaimQueue<FairEntry>();
    queue.put(entry("a"), 0);
    queue.put(entry("a"), 50);
    queue.put(entry("b"), 0);
    expect(queue.hasOne(0, any)).toBe(true);
    queue.remove(parseJobId("b"));
    expect(queue.take(0, any)).toBeUndefined();
    queue.remove(parseJobId("a"));
    expect([queue.take(50, any), queue.nextDueMs]).toEqual([undefined, undefined]);
  });
});
