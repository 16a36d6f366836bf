// Rollouts with real services on virtual time: what serves on the way, what turns them back, whoever dies meanwhile.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AetherError } from "../../src/base/errors.ts";
import { parseArtifactId } from "../../src/base/ids.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "../../src/slices/core/blueprint.ts";
import type { RolloutSettings } from "../../src/sdk/rollout.ts";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";
import { openLastWords } from "../support/last-words.ts";

const NEXT = parseArtifactId("demo:orders:1.1.0");
const PREVIOUS = "demo:orders:1.0.0";
const INSTANCES = 3;
let world: ClusterWorld;

function shop(revision: number, change: Partial<ResolvedSlice> = {}): ResolvedBlueprint {
  return blueprintOf({ orders: sliceOf("orders", INSTANCES, { minAvailable: INSTANCES - 1, ...change }) }, revision);
}

function isAllOf(artifact: string): boolean {
  return world.artifacts("orders").join() === Array.from({ length: INSTANCES }, () => artifact).join() &&
    world.active("orders").length === INSTANCES;
}

/** Until `isReached`; the fewest instances that served on the way. */
async function fewestUntil(isReached: () => boolean, limitMs = 20_000): Promise<number> {
  let fewest = Number.POSITIVE_INFINITY;
  await world.until(() => {
    fewest = Math.min(fewest, world.active("orders").length);
    return isReached();
  }, limitMs);
  return fewest;
}

function failEverywhere(step: "load" | "activate", error: AetherError | undefined): void {
  for (const { host } of world.nodes.values()) {
    for (let index = 0; index < 2 * INSTANCES; index++) host.script(step, `${NEXT}/${index}`, error);
  }
}

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

describe("a slice of which all instances serve", () => {
  beforeEach(async () => {
    world = await ClusterWorld.open();
    await world.apply(shop(1));
    await world.until(() => isAllOf(PREVIOUS), 5_000);
    expect(world.rollout("orders")).toBeUndefined();
  });

  test("goes to another artifact one instance at a time, with none less serving", async () => {
    await world.apply(shop(2, { artifact: NEXT }));
    expect(await fewestUntil(() => world.rollout("orders")?.stage === "done")).toBe(INSTANCES);
    expect(isAllOf(NEXT)).toBe(true);
    expect(world.mostRows).toBe(INSTANCES + 1);
    expect(world.rollout("orders")).toMatchObject({
      strategy: "rolling", target: { artifact: NEXT, revision: 2 }, previous: { artifact: PREVIOUS, revision: 1 },
    });
  });

  test("makes room first where the rollout allows that some are missing and none is too many", async () => {
    await world.apply(shop(2, { artifact: NEXT, rollout: { strategy: "rolling", surge: 0, unavailable: 1 } }));
    expect(await fewestUntil(() => world.rollout("orders")?.stage === "done")).toBe(INSTANCES - 1);
    expect(isAllOf(NEXT)).toBe(true);
    expect(world.mostRows).toBe(INSTANCES);
  });

  describe("and switches at one moment", () => {
    const rollout = { strategy: "blue-green", bakeMs: 60_000 } as const;

    test("has all of the new version beside the old one first, and keeps that for a while", async () => {
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      const shares: (number | undefined)[] = [];
      await world.until(() => {
        const share = world.rollout("orders")?.targetShare;
        if (share !== shares.at(-1)) shares.push(share);
        return share === 10_000;
      }, 5_000);
      expect(shares).toEqual([0, 10_000]);
      expect([world.active("orders").length, world.mostRows]).toEqual([2 * INSTANCES, 2 * INSTANCES]);
      await world.clock.advance(59_000);
      expect(world.active("orders")).toHaveLength(2 * INSTANCES);
      await world.until(() => world.rollout("orders")?.stage === "done", 5_000);
      expect(isAllOf(NEXT)).toBe(true);
    });

    test("switches back at once when it is rolled back while it bakes", async () => {
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      await world.until(() => world.rollout("orders")?.targetShare === 10_000, 5_000);
      await world.apply(shop(3));
      await world.until(() => world.rollout("orders")?.isReturn === true, 500);
      expect(world.rollout("orders")).toMatchObject({ targetShare: 10_000, target: { artifact: PREVIOUS } });
      await fewestUntil(() => world.rollout("orders")?.stage === "done");
      expect(isAllOf(PREVIOUS)).toBe(true);
    });

    test("goes back by itself when an instance of the new version fails for good while it bakes", async () => {
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      await world.until(() => world.rollout("orders")?.targetShare === 10_000, 5_000);
      failEverywhere("load", new AetherError("E_INVALID", "the file is gone"));
      const { host } = world.node("n1");
      for (const instance of host.hosted().keys()) if (instance.startsWith(NEXT)) host.crash(instance);
      expect(await fewestUntil(() => world.rollout("orders")?.stage === "rolled-back")).toBe(INSTANCES);
      expect(world.rollout("orders")).toMatchObject({ targetShare: 0 });
      expect(world.rollout("orders")?.reason).toMatch(/the file is gone$/);
      expect(isAllOf(PREVIOUS)).toBe(true);
    });

    test("ends with the new version when what it would go back to cannot be read any more", async () => {
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      await world.until(() => world.rollout("orders")?.targetShare === 10_000, 5_000);
      await world.write(formatKey({ kind: "blueprint", name: "shop", revision: 1 }), "garbage");
      await world.until(() => world.rollout("orders")?.stage === "done", 5_000);
      expect(isAllOf(NEXT)).toBe(true);
    });

    test("waits anew, and no shorter, when the leader is lost while it bakes", async () => {
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      await world.until(() => world.rollout("orders")?.targetShare === 10_000, 5_000);
      await world.clock.advance(50_000);
      await world.kill("n1");
      world.start("n1");
      await world.clock.advance(50_000);
      expect(world.rollout("orders")?.stage).toBe("shifting");
      await world.until(() => world.rollout("orders")?.stage === "done", 30_000);
      expect(isAllOf(NEXT)).toBe(true);
    });
  });

  describe("and tries the new version on a part of the calls", () => {
    const rollout: RolloutSettings = {
      strategy: "canary", steps: [10, 50, 100], stepMs: 10_000, minCalls: 20, errorRateMax: 0.01, p99MsMax: 500,
    };

    /** Every node makes calls, each with the share of the row: so many of those to the target fail. */
    function callAround(failing: number): void {
      const row = world.rollout("orders");
      if (row?.stage !== "shifting") return;
      for (const { services } of world.nodes.values()) {
        for (let call = 0; call < 10; call++) {
          const isTargets = call * 1_000 < (row.targetShare ?? 0);
          const { specDigest } = isTargets ? row.target : row.previous;
          const outcome = isTargets && call < failing ? "failed" : "ok";
          services.tallies.note({ slice: "orders", specDigest, outcome, ms: 5 });
        }
      }
    }

    /** Calls ten times a second until the rollout is at this stage; the shares of the target on the way. */
    async function sharesUntil(stage: string, failing: number): Promise<readonly number[]> {
      const shares: number[] = [];
      for (let tenths = 0; tenths < 1_000 && world.rollout("orders")?.stage !== stage; tenths++) {
        callAround(failing);
        await world.clock.advance(100);
        const share = world.rollout("orders")?.targetShare ?? 0;
        if (share !== (shares.at(-1) ?? 0)) shares.push(share);
      }
      return shares;
    }

    test("gives it more step by step, with as many instances as that takes", async () => {
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      const startMs = world.clock.nowMs();
      expect(await sharesUntil("done", 0)).toEqual([1_000, 5_000, 10_000]);
      expect(world.clock.nowMs() - startMs).toBeGreaterThan(30_000);
      expect(isAllOf(NEXT)).toBe(true);
      expect(world.mostRows).toBeLessThanOrEqual(2 * INSTANCES);
    });

    test("says on every node what it waits for, and once as an event when that takes too long", async () => {
      const waits = () => [...world.nodes.values()].map(({ services }) => services.outlook().waiting[0]?.wait);
      const each = (wait: object) => [wait, wait, wait].map((one) => expect.objectContaining(one) as unknown);
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      await world.until(() => world.rollout("orders") !== undefined, 5_000);
      expect(waits()).toEqual(each({
        what: "instances", isLate: false,
        message: "0 of 1 instances of the new version serve, which it needs for 10% of the calls",
      }));
      await world.until(() => world.rollout("orders")?.targetShare === 1_000, 5_000);
      await world.clock.advance(9_000);
      const message = "0 of 20 calls of the new version so far; without more the step ends 30 s after it began";
      expect(waits()).toEqual(each({ what: "calls", isLate: false, message }));
      expect(world.late).toEqual([]);
      await world.clock.advance(5_000);
      expect(waits()).toEqual(each({ what: "calls", isLate: true, message }));
      expect(world.late).toEqual([`orders: ${message}`]);
      for (let tenths = 0; tenths < 50 && world.rollout("orders")?.step === 0; tenths++) {
        callAround(0);
        await world.clock.advance(100);
      }
      await world.until(() => world.rollout("orders")?.targetShare === 5_000, 5_000);
      for (let calls = 0; calls < 4; calls++) callAround(0);
      await world.clock.advance(3_000);
      expect(waits()).toEqual(each({
        what: "time", isLate: false, message: "the step lasts 10 s, of which 3 are over",
      }));
      // The time is over for who reads the row; a leader that has just begun counts it anew.
      await world.kill("n1");
      await world.until(() => world.leader() === "n2", 10_000);
      await world.until(() => waits()[1]?.what === "leader", 8_000);
      await sharesUntil("done", 0);
      expect([waits(), world.late.length]).toEqual([[undefined, undefined], 1]);
    });

    test("takes all calls back as soon as too many of them fail, and says how many", async () => {
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      await world.until(() => world.rollout("orders")?.targetShare === 1_000, 5_000);
      expect(world.rows()).toHaveLength(INSTANCES + 1);
      await sharesUntil("rolled-back", 1);
      expect(world.rollout("orders")).toMatchObject({ step: 0, targetShare: 0 });
      expect(world.rollout("orders")?.reason).toMatch(/^errors 100% of \d+ calls, previous 0% of \d+; limit 1%$/);
      expect(isAllOf(PREVIOUS)).toBe(true);
    });

    test("goes on from the same step when the leader is lost, with the counts of those that are there", async () => {
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      await world.until(() => world.rollout("orders")?.targetShare === 1_000, 5_000);
      for (let tenths = 0; tenths < 20; tenths++) {
        callAround(0);
        await world.clock.advance(100);
      }
      await world.kill("n1");
      await world.until(() => world.leader() === "n2", 10_000);
      world.start("n1");
      expect(world.rollout("orders")).toMatchObject({ stage: "shifting", step: 0, targetShare: 1_000 });
      await sharesUntil("rolled-back", 1);
      expect(isAllOf(PREVIOUS)).toBe(true);
    });

    test("waits three times as long for calls that do not come, then goes on", async () => {
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      await world.until(() => world.rollout("orders")?.targetShare === 1_000, 5_000);
      await world.clock.advance(29_000);
      expect(world.rollout("orders")?.step).toBe(0);
      await world.until(() => world.rollout("orders")?.stage === "done", 100_000);
      expect(isAllOf(NEXT)).toBe(true);
    });
  });

  test("goes back by itself when the new version cannot start, and says why", async () => {
    failEverywhere("activate", new AetherError("E_HANDLER", "start threw: no database"));
    await world.apply(shop(2, { artifact: NEXT }));
    expect(await fewestUntil(() => world.rollout("orders")?.stage === "rolled-back")).toBe(INSTANCES);
    expect(isAllOf(PREVIOUS)).toBe(true);
    expect(world.mostRows).toBe(INSTANCES + 1);
    expect(world.rollout("orders")?.reason).toMatch(
      /^instance demo:orders:1\.1\.0\/0 on n\d failed in attempt 3 with E_HANDLER: start threw: no database$/,
    );
  });

  test("goes back at once when trying again cannot help", async () => {
    failEverywhere("load", new AetherError("E_INVALID", "the config does not fit"));
    await world.apply(shop(2, { artifact: NEXT }));
    await world.until(() => world.rollout("orders")?.stage === "rolled-back", 900);
    expect(world.rollout("orders")?.reason).toMatch(/ failed with E_INVALID: the config does not fit$/);
  });

  describe("and of which a version was rolled back", () => {
    beforeEach(async () => {
      failEverywhere("load", new AetherError("E_INVALID", "no good"));
      await world.apply(shop(2, { artifact: NEXT }));
      await world.until(() => world.rollout("orders")?.stage === "rolled-back", 5_000);
      failEverywhere("load", undefined);
    });

    test("does not try it again by itself, nor because the blueprint wants more of it", async () => {
      await world.apply(shop(3, { artifact: NEXT, instances: 4 }));
      await world.until(() => world.active("orders").length === 4, 5_000);
      await world.clock.advance(60_000);
      expect(new Set(world.artifacts("orders"))).toEqual(new Set([PREVIOUS]));
    });

    test("replaces an instance of the version that serves when its node is lost", async () => {
      await world.kill("n3");
      await world.until(() => isAllOf(PREVIOUS) && world.rows().every((row) => !row.startsWith("n3 ")), 15_000);
    });

    test("tries it again when the blueprint wanted something else meanwhile, however short", async () => {
      await world.apply(shop(3));
      await world.apply(shop(4, { artifact: NEXT }));
      await world.until(() => isAllOf(NEXT) && world.rollout("orders")?.stage === "done", 20_000);
    });

    test("goes on to the next version from the one that serves", async () => {
      const fixed = parseArtifactId("demo:orders:1.1.1");
      await world.apply(shop(3, { artifact: fixed }));
      await world.until(() => isAllOf(fixed) && world.rollout("orders")?.stage === "done", 20_000);
      expect(world.rollout("orders")?.previous).toMatchObject({ artifact: PREVIOUS });
    });
  });

  test("whose rollout is overtaken goes back, when that fails, to what had proved itself", async () => {
    await world.apply(shop(2, { artifact: NEXT }));
    await world.until(() => new Set(world.artifacts("orders")).size === 2, 5_000);
    const broken = parseArtifactId("demo:orders:1.2.0");
    for (const { host } of world.nodes.values()) {
      for (let index = 0; index < 5; index++) {
        host.script("load", `${broken}/${index}`, new AetherError("E_INVALID", "no good"));
      }
    }
    await world.apply(shop(3, { artifact: broken }));
    await fewestUntil(() => world.rollout("orders")?.stage === "rolled-back");
    expect(isAllOf(PREVIOUS)).toBe(true);
  });

  test("that is removed half way leaves no row behind", async () => {
    await world.apply(shop(2, { artifact: NEXT }));
    await world.until(() => world.rollout("orders") !== undefined, 5_000);
    await world.remove("shop");
    await world.until(() => world.rows().length === 0 && world.rollout("orders") === undefined, 5_000);
  });

  test("whose row of a rollout is damaged gets a new one with the next version", async () => {
    await world.write(formatKey({ kind: "rollout", blueprint: "shop", slice: "orders" }), { stage: "strange" });
    await world.apply(shop(2, { artifact: NEXT }));
    await world.until(() => isAllOf(NEXT) && world.rollout("orders")?.stage === "done", 20_000);
  });
});

const CANARY: RolloutSettings = {
  strategy: "canary", steps: [50, 100], stepMs: 1_000, minCalls: 1, errorRateMax: 0, p99MsMax: 500,
};

test("each of many canaries at once is judged by the calls of all nodes", async () => {
  world = await ClusterWorld.open();
  // More than what one node tells the others in one message.
  const names = Array.from({ length: 20 }, (_, at) => `orders-${String(at).padStart(2, "0")}`);
  const many = (revision: number, change: Partial<ResolvedSlice> = {}): ResolvedBlueprint =>
    blueprintOf(Object.fromEntries(names.map((name) => [name, sliceOf(name, 1, change)])), revision);
  await world.apply(many(1));
  await world.until(() => names.every((name) => world.active(name).length === 1), 10_000);
  await world.apply(many(2, { config: { currency: "EUR" }, rollout: { ...CANARY, minCalls: 20 } }));
  await world.until(() => names.every((name) => (world.rollout(name)?.targetShare ?? 0) > 0), 20_000);
  // The leader hears of failed calls alone, and of as many as no node has by itself.
  for (const [node, { services }] of world.nodes) {
    if (node === world.leader()) continue;
    for (const name of names) {
      const specDigest = world.rollout(name)?.target.specDigest;
      const failed = { slice: name, specDigest, outcome: "failed", ms: 5 } as const;
      for (let call = 0; call < 10; call++) services.tallies.note(failed);
    }
  }
  await world.until(() => names.every((name) => world.rollout(name)?.stage === "rolled-back"), 30_000);
  for (const name of names) expect(world.rollout(name)?.reason).toMatch(/^errors 100% of 20 calls/);
});

/** Each way as short as it may be, and the most instances that it may have at once. */
const WAYS: readonly { readonly rollout: RolloutSettings; readonly most: number }[] = [
  { rollout: { strategy: "rolling", surge: 1, unavailable: 0 }, most: INSTANCES + 1 },
  { rollout: { strategy: "blue-green", bakeMs: 1_000 }, most: 2 * INSTANCES },
  { rollout: CANARY, most: 2 * INSTANCES },
];

/** One that failed has nothing but its row until it is tried again. */
function countInstances(): number {
  return world.rows().filter((row) => !row.endsWith(" FAILED")).length;
}

describe.each(WAYS)("a leader that dies in a $rollout.strategy rollout", ({ rollout, most }) => {
  const FATES = [["works", "lost"], ["works", "applied"], ["fails", "lost"], ["fails", "applied"]] as const;

  test.each(FATES)("leaves the next what it needs, where the target %s and the write is %s", async (outcome, fate) => {
    const end = outcome === "works" ? "done" : "rolled-back";
    const isAtEnd = (): boolean => world.rollout("orders")?.stage === end;
    const failTarget = (): void => {
      if (outcome === "fails") failEverywhere("load", new AetherError("E_INVALID", "no good"));
    };
    let found = 0;
    const until = (isReached: () => boolean, limitMs: number): Promise<number> => world.until(() => {
      found = Math.max(found, countInstances());
      return isReached();
    }, limitMs);
    let at = 1;
    for (let isReached = true; isReached; at++) {
      const opened = await openLastWords(at, fate);
      const { last } = opened;
      world = opened.world;
      await world.apply(shop(1));
      await world.until(() => isAllOf(PREVIOUS), 5_000);
      last.isArmed = true;
      failTarget();
      await world.apply(shop(2, { artifact: NEXT, rollout }));
      await until(() => last.isReached || isAtEnd(), 30_000);
      isReached = last.isReached;
      if (isReached) {
        await world.kill("n1");
        await world.clock.advance(700);
        world.start("n1");
        failTarget();
      }
      await until(isAtEnd, 60_000);
      await until(() => isAllOf(outcome === "works" ? NEXT : PREVIOUS), 5_000);
      expect(found).toBeLessThanOrEqual(most);
      expect(world.fatal).toEqual([]);
      if (isReached) await world.close();
    }
    // The row at the beginning and at the end, and each command in between.
    expect(at).toBeGreaterThan(outcome === "works" ? 12 : 4);
  });
});
