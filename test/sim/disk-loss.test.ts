// A voter whose disk is not the one it had is not the same voter: it is refused and stops, whatever it says.
import { expect, test } from "vitest";
import { ScriptedRun } from "./scripted-run.ts";

const STOPPING_MS_MAX = 10_000;

async function formWithData(): Promise<ScriptedRun> {
  const run = new ScriptedRun(5, 3);
  await run.form();
  await run.put(10);
  await run.rest();
  return run;
}

async function runUntilStop(run: ScriptedRun): Promise<string | undefined> {
  await run.world.run(() => run.violation !== undefined, run.world.nowMs + STOPPING_MS_MAX);
  return run.violation?.check === "fatal" ? run.violation.message : run.violation?.check;
}

test("a voter that comes back with an empty disk is refused by the others and stops", async () => {
  const run = await formWithData();
  const machine = run.machine(run.nodeAt(2));
  machine.crash();
  machine.restoreDisks(new Map());
  machine.boot();
  expect(await runUntilStop(run)).toMatch(/n3 stops itself: E_DATA_LOST .*is empty or not the one it had/);
});

test("a voter that comes back with an older disk is refused by the others and stops", async () => {
  const run = await formWithData();
  const machine = run.machine(run.nodeAt(2));
  const backup = machine.copyDisks();
  await run.put(10);
  await run.rest();
  machine.crash();
  machine.restoreDisks(backup);
  machine.boot();
  expect(await runUntilStop(run)).toMatch(/n3 stops itself: E_DATA_LOST .*had promised write/);
});

test("a voter that was only switched off for a while is accepted again", async () => {
  const run = await formWithData();
  const machine = run.machine(run.nodeAt(2));
  machine.crash();
  const disks = machine.copyDisks();
  await run.put(10);
  machine.restoreDisks(disks);
  machine.boot();
  expect(await run.settleAndJudge()).toBeUndefined();
  expect(run.acknowledged).toBe(20);
});

test("a node whose disk reports an I/O error stops at once, and the others go on", async () => {
  const run = await formWithData();
  run.machine(run.nodeAt(2)).failWrites();
  await run.put(2);
  expect(await runUntilStop(run)).toMatch(/n3 stops itself: E_DISK/);
});
