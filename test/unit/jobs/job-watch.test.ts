import { expect, test } from "vitest";
import { parseJobId } from "../../../src/base/ids.ts";
import { JobCensus } from "../../../src/jobs/job-census.ts";
import { JobWatch } from "../../../src/jobs/job-watch.ts";
import { formatKey, type AetherKey } from "../../../src/kvstore/core/key.ts";
import { SILENT_TELEMETRY } from "../../support/cluster-world.ts";
import { writeLaterKey } from "../../support/later-key.ts";
import { createLocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

test("keys below those of jobs that only a later build knows stop nobody, and hide no job", async () => {
  const clock = new ManualClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  const local = await opening;
  const { kv } = local;
  const jobKey = (job: string): AetherKey => ({ kind: "job", partition: 0, job: parseJobId(job) });
  const waits = async (job: string): Promise<void> => {
    const value = { status: "waiting", sinceMs: 1, waiting: { reason: "signal" } };
    await clock.settled(
      kv.transact({ compare: [], then: [{ kind: "put", key: formatKey(jobKey(job)), value }], else: [] }), 10_000,
    );
  };
  await waits("j2");
  writeLaterKey(local, jobKey("j1"), 1);
  await clock.settle();
  const fatal: unknown[] = [];
  const watch = new JobWatch({ clock, telemetry: SILENT_TELEMETRY }, kv);
  const ports = { kv, watch, onFatal: (error: unknown) => void fatal.push(error) };
  const census = new JobCensus({ clock, log: SILENT_TELEMETRY.log }, ports);
  census.start();
  watch.open();
  await clock.advance(5_000);
  expect(census.waitingFor("signal")).toBe(1);
  writeLaterKey(local, jobKey("j1"), 1);
  await waits("j3");
  await clock.advance(5_000);
  expect(census.waitingFor("signal")).toBe(2);
  await clock.settled(census.close(), 1_000);
  watch.close();
  await clock.settled(local.close(), 10_000);
  expect(fatal).toEqual([]);
});
