import { describe, expect, test } from "vitest";
import { parseJobId } from "../../../../../src/base/ids.ts";
import { limitsOf, TakenPlaces, UNLIMITED_JOBS, type PermitLimit } from "../../../../../src/jobs/core/flow/permits.ts";
import { parseJobRow, parseQueueRow } from "../../../../../src/jobs/core/rows.ts";
import { handBackParts } from "../../../../../src/jobs/core/life/hand-back.ts";
import { refOf } from "../../../../../src/jobs/core/ids.ts";
import { sha256 } from "../../../../../src/base/digest.ts";

const JOB = parseJobId("a");
const LIMIT: PermitLimit = { scope: "agent", name: "claims", max: 3 };
const ROW = {
  agent: "claims", tenant: "default", pin: sha256("pin"), status: "pending", epoch: 0, run: 1,
  claims: { atSeq: 0, count: 0 }, queueClass: "default", priority: 0, attributes: {}, sinceMs: 1, createdMs: 1,
};

describe("the limits of a job", () => {
  test("are those of its agent, its tenant and the cluster, where there are any", () => {
    const job = { agent: "claims", tenant: "shop" };
    expect(limitsOf(job, { runningMax: UNLIMITED_JOBS, tenantRunningMax: UNLIMITED_JOBS })).toEqual([]);
    expect(limitsOf({ ...job, agentMax: 2 }, { runningMax: 9, tenantRunningMax: 5 })).toEqual([
      { scope: "agent", name: "claims", max: 2 },
      { scope: "tenant", name: "shop", max: 5 },
      { scope: "cluster", name: "all", max: 9 },
    ]);
  });

  test("are not in rows that were written before there were any", () => {
    expect(parseJobRow(ROW)).toEqual(ROW);
    const queued = { agent: "claims", tenant: "default", queueClass: "default", priority: 0, sinceMs: 1 };
    expect(parseQueueRow(queued)).toEqual(queued);
  });
});

describe("places", () => {
  test("are given until there are none, each once, and again when they are free", () => {
    const taken = new TakenPlaces();
    const slots = new Set<number>();
    for (let count = 0; count < LIMIT.max; count++) {
      const [place] = taken.choose([LIMIT], JOB) ?? [];
      if (place === undefined) throw new RangeError("one is free");
      taken.take(place);
      slots.add(place.slot);
    }
    expect([...slots].sort()).toEqual([0, 1, 2]);
    expect([taken.isFull(LIMIT), taken.choose([LIMIT], JOB)]).toEqual([true, undefined]);
    taken.free({ scope: "agent", name: "claims", slot: 1 });
    expect(taken.choose([LIMIT], JOB)).toEqual([{ scope: "agent", name: "claims", slot: 1 }]);
  });

  test("count although the limit is lower by now", () => {
    const taken = new TakenPlaces();
    taken.take({ scope: "agent", name: "claims", slot: 7 });
    expect(taken.isFull({ ...LIMIT, max: 1 })).toBe(true);
    expect(taken.choose([{ ...LIMIT, max: 2 }], JOB)).toHaveLength(1);
  });

  test("are given for all limits of a job or for none", () => {
    const taken = new TakenPlaces();
    taken.take({ scope: "cluster", name: "all", slot: 0 });
    expect(taken.choose([LIMIT, { scope: "cluster", name: "all", max: 1 }], JOB)).toBeUndefined();
    expect(taken.choose([], JOB)).toEqual([]);
  });
});

test("jobs with places are handed back in parts that one transaction has room for", () => {
  const place = { scope: "agent", name: "claims", slot: 0 } as const;
  const jobs = Array.from({ length: 100 }, (_, at) => ({
    ref: refOf(parseJobId(`j${at}`)),
    row: parseJobRow({ ...ROW, ...(at % 2 === 0 && { permits: [place, place, place] }) }),
    rowRevision: 1,
  }));
  const parts = handBackParts(jobs);
  expect(parts.flat()).toEqual(jobs);
  for (const part of parts) {
    const ops = part.reduce((sum, { row: { permits = [] } }) => sum + 4 + permits.length, 0);
    expect(ops).toBeLessThanOrEqual(120);
    expect(part.length).toBeGreaterThan(10);
  }
});
