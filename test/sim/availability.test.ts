import { expect, test } from "vitest";
import { ScriptedRun } from "./scripted-run.ts";

const RUNS = 20;
/** One disk hiccup and one suspicion fit in; an election would not. */
const GAP_MS_MAX = 1_000;

test.each([
  ["the convener", 0],
  ["a follower", 2],
])("acknowledgements go on within a second when %s dies for good", async (_who, victim) => {
  const gaps: number[] = [];
  for (let seed = 1; seed <= RUNS; seed += 1) {
    const run = new ScriptedRun(seed, 3);
    await run.form();
    await run.put(50);
    run.machine(run.nodeAt(victim)).crash();
    gaps.push(await run.put(400));
    expect(run.violation).toBeUndefined();
  }
  gaps.sort((a, b) => a - b);
  console.log(`longest time without an acknowledgement: median ${gaps[RUNS / 2]} ms, worst ${gaps.at(-1)} ms`);
  expect(gaps.at(-1)).toBeLessThan(GAP_MS_MAX);
});

test("a node that was away for more than the others keep in memory catches up from their logs", async () => {
  const run = new ScriptedRun(7, 3);
  await run.form();
  run.machine(run.nodeAt(2)).crash();
  // Some two megabytes: the answers come in several chunks.
  await run.put(1_000, 2_000);
  run.machine(run.nodeAt(2)).boot();
  expect(await run.settleAndJudge()).toBeUndefined();
  expect(run.acknowledged).toBeGreaterThan(990);
});

test("a minority neither acknowledges nor decides anything", async () => {
  const run = new ScriptedRun(9, 3);
  await run.form();
  await run.put(10);
  await run.rest();
  const before = run.acknowledged;
  for (const index of [1, 2]) run.machine(run.nodeAt(index)).crash();
  await run.put(50);
  await run.rest();
  expect(run.acknowledged).toBe(before);
  for (const index of [1, 2]) run.machine(run.nodeAt(index)).boot();
  expect(await run.settleAndJudge()).toBeUndefined();
});
