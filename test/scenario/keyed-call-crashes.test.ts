// A crash at every use of the store by a call with an idempotency key: whatever was under way, its handler does not run
// a second time, and who asks again is told the truth.
import { expect, test } from "vitest";
import { KeyedWorld, type Fate } from "../support/keyed-world.ts";

/** Read, lease, claim, record. */
const USES = 4;

async function crashAt(use: number, fate: Fate): Promise<void> {
  const world = await KeyedWorld.open();
  const [n1, n2] = [world.start("n1"), world.start("n2")];
  n1.fateOf = (nth) => (nth === use ? fate : "done");
  let first: unknown;
  void n1.place({ timeoutMs: 2_000 }).then((reply) => (first = reply));
  await world.clock.advance(1_000);
  const runsBefore = world.runs.length;
  if (!n1.isAlive) world.declareEnded(n1.life);
  const second = await world.settled(n2.place());
  const third = await world.settled(n2.place());
  expect(world.runs.length, `use ${use} ${fate}`).toBeLessThanOrEqual(1);
  if (second.kind === "ok") {
    expect(world.runs).toHaveLength(1);
    expect(third).toEqual({ kind: "ok", output: { run: 1 }, isReplayed: true });
  } else {
    // Claimed, and the process ended before it could say how the handler did.
    expect(n1.isAlive).toBe(false);
    expect(second).toMatchObject({ kind: "failed", error: { outcome: "unknown", details: { isFinal: true } } });
    expect(third).toEqual(second);
  }
  if (first !== undefined && fate === "unanswered" && use < USES) expect(first).toMatchObject({ kind: "not-started" });
  if (runsBefore === 0 && n1.isAlive) expect(second).toMatchObject({ kind: "ok" });
  expect(world.fatal).toEqual([]);
  expect(n1.uses).toBeGreaterThanOrEqual(use);
  await world.close();
}

const POINTS = Array.from({ length: USES }, (_, index) => index + 1);

test.each(POINTS)("killed before use %d of the store (K1, K3)", (use) => crashAt(use, "killed-before"));
test.each(POINTS)("killed after use %d of the store, which has got it (K1, K3)", (use) => crashAt(use, "killed-after"));
test.each(POINTS.slice(1))("use %d of the store is not answered", (use) => crashAt(use, "unanswered"));

test("a call uses the store so often, and no point is left out", async () => {
  const world = await KeyedWorld.open();
  const n1 = world.start("n1");
  await world.settled(n1.place());
  expect(n1.uses).toBe(USES);
  await world.close();
});
