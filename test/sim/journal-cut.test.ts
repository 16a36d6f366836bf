// Journals that are cut all the time, and nodes that crash meanwhile: nothing is missing that a start or a peer needs.
import { expect, test } from "vitest";
import type { NodeId } from "../../src/base/ids.ts";
import { baseOf } from "../../src/testkit/sim/sim-log-files.ts";
import { ScriptedRun } from "./scripted-run.ts";

const PUTS = 300;
/** More than what is decided while a node is down, much less than a run decides. */
const LIMITS = { logLimits: { slotsKept: 40, bytesKept: 1_000_000 }, checkpointMsMax: 150 };

async function run(seed: number, victimsOf: (nodes: readonly NodeId[]) => readonly NodeId[]): Promise<number> {
  const scripted: ScriptedRun = new ScriptedRun(seed, 3, (moment) => {
    if (moment % (300 + seed) === 0) scripted.crashSoon(victimsOf(scripted.cluster.nodes));
  }, LIMITS);
  await scripted.form();
  await scripted.put(PUTS);
  const violation = await scripted.settleAndJudge();
  expect(violation, `seed ${seed}: ${violation?.message ?? ""}`).toBeUndefined();
  const disks = scripted.cluster.nodes.map((node) => scripted.machine(node).copyDisks().get(baseOf("wal")));
  return disks.filter((disk) => disk !== undefined && disk.size > 0).length;
}

test("nodes whose journals were cut come back from crashes of one and of all", async () => {
  let cuts = 0;
  for (let seed = 1; seed <= 6; seed += 1) {
    cuts += await run(seed, (nodes) => nodes.slice(seed % 3, (seed % 3) + 1));
    cuts += await run(seed, (nodes) => nodes);
  }
  expect(cuts, "almost every journal was cut").toBeGreaterThan(24);
});
