// One job that its owner runs, over the real store: what its inbox holds when it is claimed, and reads that are slow.
import { afterEach, beforeEach, expect, test } from "vitest";
import { createDeferred } from "../../src/base/deferred.ts";
import type { CallName } from "../../src/jobs/core/ids.ts";
import { TIME_IS_OVER } from "../../src/jobs/core/life/deadline.ts";
import { inboxCountKey, inboxKey } from "../../src/jobs/core/life/job-keys.ts";
import { followInbox } from "../../src/jobs/inbox/inbox-feed.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import type { RunEnd } from "../../src/jobs/running/job-run.ts";
import { JobsDrive } from "../../src/jobs/doors/jobs-drive.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { JOB, putPin, REF, runningJob } from "../support/job-log.ts";
import { rowOf } from "../support/job-rows.ts";
import { payloadsIn } from "../support/kept-payloads.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { RUN, ScriptedRun, type ScriptedRunOptions } from "../support/scripted-run.ts";

const ANN = { principal: "ann", tenant: "default" };
const CALL = "/go#1" as CallName;
const clock = createRealClock();

let local: LocalKv;
let writer: InboxWriter;
let drive: JobsDrive;

beforeEach(async () => {
  local = await createLocalKv({ clock });
  writer = new InboxWriter({ clock }, { kv: local.kv, onFatal: (error) => expect.unreachable(String(error)) });
  drive = new JobsDrive({
    clock, kv: local.kv, inbox: writer, payloads: payloadsIn(local.kv), pins: { definitionOf: async () => undefined },
  });
  await putPin(local.kv);
  await runningJob(clock, local.kv);
});

afterEach(async () => {
  await writer.close();
  await local.close();
});

/** What the code of an agent does at its start, and when it is offered something. */
type Script = Pick<ScriptedRunOptions, "onStart" | "onHeard">;

/** How the run ends when the first look into the inbox takes until the code has nothing more to do. */
async function endOfRun(script: Script): Promise<RunEnd> {
  const slow = createDeferred<void>();
  const slowly: Pick<Kv, "get" | "list"> = {
    get: (key, options) => local.kv.get(key, options),
    list: async (query, options) => {
      await slow.promise;
      return await local.kv.list(query, options);
    },
  };
  const watch = { listen: () => () => undefined };
  const run = await ScriptedRun.begin({
    clock, local, ...script,
    ports: {
      followInbox: (ref, onArrival) =>
        followInbox({ clock, log: SILENT_TELEMETRY.log }, { kv: slowly, watch }, ref, onArrival),
    },
  });
  // Time for an owner that is in a hurry: each is a turn of the store.
  for (let turn = 0; turn < 20; turn++) await rowOf(local.kv, JOB);
  slow.resolve();
  return await run.ended.promise;
}

const waitsForGo: Script = {
  onStart: (run) => {
    run.op({ kind: "want-wait", call: CALL, wait: { kind: "signal", signal: "go" } });
    run.idle();
  },
  onHeard: (message, run) => {
    if (message.kind !== "offer") return;
    run.op({ kind: "took", offer: message.offer });
    run.op({ kind: "completed", output: "told" });
  },
};

test("a job does not wait for a signal that its inbox holds, however slowly that is read (JOB9)", async () => {
  await drive.signal(JOB, { name: "go", payload: 1 }, ANN);
  expect(await endOfRun(waitsForGo)).toBe("ended");
  expect((await rowOf(local.kv, JOB)).status).toBe("completed");
});

test("a job whose code went astray is cancelled, not stuck, when its inbox says so", async () => {
  await drive.cancel(JOB, ANN);
  const error = { name: "AetherError", code: "E_NONDETERMINISM", message: "something else" };
  expect(await endOfRun({ onStart: (run) => run.say({ kind: "diverged", run: RUN, error }) })).toBe("ended");
  expect((await rowOf(local.kv, JOB)).status).toBe("cancelled");
});

test("a job whose code went astray has failed when its time is over", async () => {
  await writer.put(REF, { entry: TIME_IS_OVER });
  const error = { name: "AetherError", code: "E_NONDETERMINISM", message: "something else" };
  expect(await endOfRun({ onStart: (run) => run.say({ kind: "diverged", run: RUN, error }) })).toBe("ended");
  expect((await rowOf(local.kv, JOB)).status).toBe("failed");
});

test("an entry that cannot be read does not keep a job from waiting", async () => {
  await local.kv.transact({
    compare: [],
    then: [
      { kind: "put", key: inboxCountKey(REF), value: { last: 1 } },
      { kind: "put", key: inboxKey(REF, 1), value: { kind: "nothing that there is" } },
    ],
    else: [],
  });
  expect(await endOfRun(waitsForGo)).toBe("waiting");
  expect(await rowOf(local.kv, JOB)).toMatchObject({ status: "waiting", waiting: { reason: "signal" } });
});
