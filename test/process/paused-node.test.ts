// Slow. A node that stands still without being dead: it must neither stop the others nor do anything twice afterwards.
import { expect, test } from "vitest";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { WriteLoad } from "./support/write-load.ts";

const PAUSE_MS = 3_000;
const GAP_MS_MAX = 5_000;

test("each node in turn stands still under load: the others go on, it catches up, nothing runs twice", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const load = new WriteLoad(fleet);
  load.start();
  for (const name of fleet.names) {
    await load.progress();
    const pausedAtMs = Date.now();
    fleet.process(name).signal("SIGSTOP");
    await eventually("the pause is over", () => Date.now() - pausedAtMs > PAUSE_MS || undefined);
    const gapMs = load.longestGapMs(pausedAtMs);
    const written = load.acknowledgedAtMs.filter((at) => at > pausedAtMs).length;
    fleet.process(name).signal("SIGCONT");
    process.stdout.write(`${name} paused: ${written} writes meanwhile, longest gap ${gapMs} ms\n`);
    expect(written).toBeGreaterThan(0);
    expect(gapMs).toBeLessThan(GAP_MS_MAX);
    await eventually(`${name} is ready again`, async () =>
      (await ask(`${fleet.api(name)}/readyz`)).status === 200 || undefined);
  }
  await load.progress();
  await load.stop();
  await load.expectOnEveryNode();
});

test("two of three stand still: nothing is acknowledged; when they wake the cluster goes on by itself", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const load = new WriteLoad(fleet);
  load.start();
  await load.progress();
  for (const name of ["n2", "n3"]) fleet.process(name).signal("SIGSTOP");
  await eventually("n1 says that it sees no majority", async () =>
    (await ask(`${fleet.api("n1")}/readyz`)).status === 503 || undefined);
  const before = load.acknowledged.size;
  const refused = await ask(`${fleet.api("n1")}/v1/kv/data/alone`, {
    method: "PUT", body: 1, headers: { "x-deadline-ms": "500" },
  });
  expect([503, 504]).toContain(refused.status);
  expect(load.acknowledged.size).toBe(before);
  for (const name of ["n2", "n3"]) fleet.process(name).signal("SIGCONT");
  await load.progress();
  await load.stop();
  await load.expectOnEveryNode();
});
