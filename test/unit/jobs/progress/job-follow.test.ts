import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { decideFinish, decideWait } from "../../../../src/jobs/core/life/decide.ts";
import type { JobResult } from "../../../../src/jobs/core/rows.ts";
import { JobWatch } from "../../../../src/jobs/job-watch.ts";
import type { JobFollower, JobView } from "../../../../src/jobs/ports.ts";
import { followJob, type JobFollowPorts } from "../../../../src/jobs/progress/job-follow.ts";
import { createRealClock } from "../../../../src/node/env-clock-adapter.ts";
import { SILENT_TELEMETRY } from "../../../support/cluster-world.ts";
import { JOB, jobStore, putPin, runningJob, startJob, transitionOf, viewOf } from "../../../support/job-log.ts";
import { createLocalKv, type LocalKv } from "../../../support/local-kv.ts";

const AT = { atMs: 4_000 };
const DONE: JobResult = { kind: "completed", output: { paid: true } };
const clock = createRealClock();
let local: LocalKv;
let watch: JobWatch;
let ports: JobFollowPorts;
let emit: (item: unknown) => void;
/** What the hub was told of the owner. */
let owners: (string | undefined)[];
let isReading: boolean;
let heard: unknown[];

const follower: JobFollower = {
  onState: ({ status }) => heard.push(status),
  onProgress: (item) => heard.push({ item }),
  onEnd: (result) => heard.push(result),
  onError: ({ code }) => heard.push(code),
};

beforeEach(async () => {
  local = await createLocalKv();
  await putPin(local.kv);
  watch = new JobWatch({ clock, telemetry: SILENT_TELEMETRY }, local.kv);
  watch.open();
  [owners, heard, isReading] = [[], [], true];
  const read: JobFollowPorts["progress"]["read"] = (_job, listener) => {
    emit = listener;
    return { setOwner: (node) => owners.push(node), close: () => (isReading = false) };
  };
  ports = { kv: local.kv, watch, progress: { read } };
});
afterEach(async () => {
  watch.close();
  await local.close();
});

async function finish(view: JobView): Promise<void> {
  const decision = transitionOf(decideFinish(view, { events: [], ...AT }, { result: DONE }));
  viewOf(await jobStore(clock, local.kv).commit(decision));
}

test("a job that goes on is told as it does, with who runs it, to its end", async () => {
  const view = await runningJob(clock, local.kv);
  await followJob(ports, JOB, follower);
  expect(heard).toEqual(["running"]);
  emit({ at: 1 });
  await finish(view);
  await vi.waitFor(() => expect(heard).toEqual(["running", { item: { at: 1 } }, "completed", DONE]));
  expect([owners.length, owners[0], owners.at(-1), isReading]).toEqual([2, expect.any(String), undefined, false]);
  emit({ at: 2 });
  expect(heard).toHaveLength(4);
});

test("a job that waits has nobody who runs it", async () => {
  const view = await runningJob(clock, local.kv);
  await followJob(ports, JOB, follower);
  const waiting = { reason: "signal", on: ["signal:go"] } as const;
  viewOf(await jobStore(clock, local.kv).commit(transitionOf(decideWait(view, { events: [], ...AT }, waiting))));
  await vi.waitFor(() => expect(heard).toEqual(["running", "waiting"]));
  expect(owners.at(-1)).toBeUndefined();
});

test("a job that has ended before is told at once", async () => {
  await finish(await runningJob(clock, local.kv));
  await followJob(ports, JOB, follower);
  expect(heard).toEqual(["completed", DONE]);
});

test("a job that is not there is an error, and nothing goes on listening", async () => {
  await expect(followJob(ports, JOB, follower)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  expect(isReading).toBe(false);
  await startJob(local.kv);
  await clock.sleep(20);
  expect(heard).toEqual([]);
});

test("who closes hears nothing more", async () => {
  const view = await runningJob(clock, local.kv);
  const following = await followJob(ports, JOB, follower);
  following.close();
  await finish(view);
  await clock.sleep(20);
  expect(heard).toEqual(["running"]);
});
