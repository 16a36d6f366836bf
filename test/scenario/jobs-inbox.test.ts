// What is told to jobs, over the real store: each entry once, in order, with the wake in the same transaction.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../src/base/digest.ts";
import { parseJobId } from "../../src/base/ids.ts";
import { refOf, type CallName } from "../../src/jobs/core/ids.ts";
import { INBOX_UNREAD_MAX } from "../../src/jobs/core/flow/inbox-entry.ts";
import { queueKey } from "../../src/jobs/core/life/job-keys.ts";
import { applyGrant, applyLoss, type ToolGrant } from "../../src/jobs/core/tools/ledger.ts";
import type { ToolRow } from "../../src/jobs/core/tools/tool-row.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { JobsDrive } from "../../src/jobs/doors/jobs-drive.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import type { ManifestAgent } from "../../src/slices/core/manifest.ts";
import { atEveryCall, interleavedKv } from "../support/interleaved-kv.ts";
import { jobStore } from "../support/job-log.ts";
import { endedJob, endJob, inboxOf, jobWith, rowOf, runningJob, waitingJob } from "../support/job-rows.ts";
import { payloadsIn } from "../support/kept-payloads.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";

const ANN = { principal: "ann", tenant: "default" };
const JOB = parseJobId("job-1");
const EFFECT = sha256("effect");

let local: LocalKv;
let writers: InboxWriter[];

beforeEach(async () => {
  local = await createLocalKv();
  writers = [];
});

afterEach(async () => {
  for (const writer of writers) await writer.close();
  await local.close();
});

/** What one node has for it. */
function openDrive(kv: Kv = local.kv, definition?: ManifestAgent): JobsDrive {
  const onFatal = (error: unknown): void => expect.unreachable(String(error));
  const inbox = new InboxWriter({ clock: createRealClock() }, { kv, onFatal });
  writers.push(inbox);
  return new JobsDrive({
    clock: createRealClock(), kv, inbox, payloads: payloadsIn(kv), pins: { definitionOf: async () => definition },
  });
}

function signal(name: string, payload: unknown, idempotencyKey?: string): Parameters<JobsDrive["signal"]>[1] {
  return { name, payload, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) };
}

async function unknownCall(): Promise<ToolRow> {
  const grant: ToolGrant = {
    effectId: EFFECT, call: "/charge#1" as CallName, tool: "charge", effect: "once", canReconcile: false, input: 1,
    inputDigest: sha256("1"), timeoutMs: 1_000,
  };
  const granted = applyGrant(undefined, grant, { seq: 3, epoch: 1 });
  if (granted.kind === "refused") return expect.unreachable(granted.reason);
  const lost = applyLoss(granted.row, "the node died", { seq: 4, epoch: 1 });
  if (lost.kind === "refused") return expect.unreachable(lost.reason);
  await jobWith(local.kv, JOB, { events: [granted.event, lost.event], tools: [{ row: lost.row, before: "none" }] });
  return lost.row;
}

describe("signals", () => {
  test("come in their order, also many at once through two nodes", async () => {
    await runningJob(local.kv, JOB);
    const [first, second] = [openDrive(), openDrive()];
    await Promise.all(Array.from({ length: 60 }, (_, at) =>
      (at % 2 === 0 ? first : second).signal(JOB, signal(at % 2 === 0 ? "a" : "b", at), ANN)));
    const entries = await inboxOf(local.kv, JOB);
    const payloads = (name: string): readonly unknown[] =>
      entries.flatMap((entry) => (entry.kind === "signal" && entry.signal === name ? [entry.payload] : []));
    expect(payloads("a")).toEqual(Array.from({ length: 30 }, (_, at) => 2 * at));
    expect(payloads("b")).toEqual(Array.from({ length: 30 }, (_, at) => 2 * at + 1));
  });

  test("wake the job that waits for them, and no other", async () => {
    await waitingJob(local.kv, JOB, { reason: "signal", on: ["signal:go"] });
    const drive = openDrive();
    await drive.signal(JOB, signal("other", 1), ANN);
    expect((await rowOf(local.kv, JOB)).status).toBe("waiting");
    await drive.signal(JOB, signal("go", 2), ANN);
    const { status, waiting, owner } = await rowOf(local.kv, JOB);
    expect([status, waiting, owner]).toEqual(["pending", undefined, undefined]);
    expect((await local.kv.get(queueKey(refOf(JOB)))).entry).toBeDefined();
    expect(await inboxOf(local.kv, JOB)).toHaveLength(2);
  });

  test("of one key are one signal, also at the same time and through two nodes", async () => {
    await runningJob(local.kv, JOB);
    const [first, second] = [openDrive(), openDrive()];
    const send = (drive: JobsDrive, key: string): Promise<void> => drive.signal(JOB, signal("go", 1, key), ANN);
    await Promise.all([send(first, "k"), send(first, "k"), send(second, "k"), send(first, "l"), send(second, "l")]);
    await send(second, "k");
    expect(await inboxOf(local.kv, JOB)).toHaveLength(2);
  });

  test("that the agent does not wait for, or not so, are refused with what is wrong, and not stored", async () => {
    await waitingJob(local.kv, JOB, { reason: "signal", on: ["signal:go"] });
    const by = { type: "object", properties: { by: { type: "string" } }, required: ["by"] };
    const drive = openDrive(local.kv, { input: {}, output: {}, tools: {}, signals: { go: by, stop: {} } });
    const issues = [{ path: ["by"], message: "expected string, found number" }];
    const wrong = drive.signal(JOB, signal("go", { by: 7 }), ANN);
    await expect(wrong).rejects.toMatchObject({ code: "E_INVALID", details: { issues } });
    const unknown = drive.signal(JOB, signal("gone", { by: "ann" }), ANN);
    await expect(unknown).rejects.toMatchObject({ code: "E_INVALID", details: { signals: ["go", "stop"] } });
    expect(await inboxOf(local.kv, JOB)).toEqual([]);
    expect(await rowOf(local.kv, JOB)).toMatchObject({ status: "waiting" });
    await drive.signal(JOB, signal("go", { by: "ann" }), ANN);
    expect(await inboxOf(local.kv, JOB)).toHaveLength(1);
  });

  test("of one key with another payload are refused, also at the same time", async () => {
    await runningJob(local.kv, JOB);
    const drive = openDrive();
    const ends = await Promise.allSettled([{ a: 1, b: 2 }, { b: 2, a: 1 }, { a: 2 }]
      .map((payload) => drive.signal(JOB, signal("go", payload, "k"), ANN)));
    expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected"]);
    await expect(openDrive().signal(JOB, signal("go", 3, "k"), ANN)).rejects.toMatchObject({ code: "E_CONFLICT" });
    expect(await inboxOf(local.kv, JOB)).toHaveLength(1);
  });

  test("are refused for a job that has ended or is not there, and when too many are unread", async () => {
    const drive = openDrive();
    await expect(drive.signal(JOB, signal("go", 1), ANN)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await endedJob(local.kv, "job-2");
    await expect(drive.signal(parseJobId("job-2"), signal("go", 1), ANN)).rejects.toMatchObject({
      code: "E_CONFLICT", outcome: "not-applied",
    });
    await runningJob(local.kv, JOB);
    await Promise.all(Array.from({ length: INBOX_UNREAD_MAX }, (_, at) => drive.signal(JOB, signal("go", at), ANN)));
    await expect(drive.signal(JOB, signal("go", 1), ANN)).rejects.toMatchObject({ code: "E_OVERLOADED" });
    expect(await inboxOf(local.kv, JOB)).toHaveLength(INBOX_UNREAD_MAX);
  });

  test("of a key that was told are told also when the job has ended since, or reads nothing more", async () => {
    const drive = openDrive();
    const ended = parseJobId("job-2");
    await runningJob(local.kv, ended);
    await drive.signal(ended, signal("go", 1, "k"), ANN);
    await endJob(local.kv, (await jobStore(createRealClock(), local.kv).load(refOf(ended))).view);
    await drive.signal(ended, signal("go", 1, "k"), ANN);
    await expect(drive.signal(ended, signal("go", 2, "k"), ANN)).rejects.toMatchObject({
      code: "E_CONFLICT", message: expect.stringContaining("key") as string,
    });
    await runningJob(local.kv, JOB);
    await Promise.all(Array.from({ length: INBOX_UNREAD_MAX }, (_, at) =>
      drive.signal(JOB, signal("go", at, `k${at}`), ANN)));
    await drive.signal(JOB, signal("go", 7, "k7"), ANN);
    expect(await inboxOf(local.kv, JOB)).toHaveLength(INBOX_UNREAD_MAX);
  });

  test("that do not all fit are taken as far as they do", async () => {
    await runningJob(local.kv, JOB);
    const drive = openDrive();
    const send = (at: number): Promise<void> => drive.signal(JOB, signal("go", at), ANN);
    await Promise.all(Array.from({ length: INBOX_UNREAD_MAX - 2 }, (_, at) => send(at)));
    const ends = await Promise.allSettled([send(1), send(2), send(3), send(4)]);
    expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "rejected"]);
  });

  test("are stored, whatever else happens to the job at any moment (JOB9)", async () => {
    let n = 0;
    const moments = await atEveryCall(async (before) => {
      const job = parseJobId(`every-${++n}`);
      const other = openDrive();
      await waitingJob(local.kv, job, { reason: "signal", on: ["signal:go"] });
      const kv = interleavedKv(local.kv, before, () => other.signal(job, signal("go", "other"), ANN));
      await openDrive(kv.kv).signal(job, signal("go", "own"), ANN);
      const entries = await inboxOf(local.kv, job);
      expect(entries.filter((entry) => entry.kind === "signal" && entry.payload === "own")).toHaveLength(1);
      expect((await rowOf(local.kv, job)).status).toBe("pending");
      return { calls: kv.calls() };
    });
    expect(moments).toBeGreaterThan(3);
  });
});

describe("cancels", () => {
  test("wake a job whatever it waits for, and are one however often they are asked for", async () => {
    await waitingJob(local.kv, JOB, { reason: "timer", on: ["call:/nap#1"], untilMs: 1 });
    const drive = openDrive();
    await Promise.all([drive.cancel(JOB, ANN), drive.cancel(JOB, ANN)]);
    expect(await inboxOf(local.kv, JOB)).toEqual([{ kind: "cancel", principal: "ann" }]);
    expect((await rowOf(local.kv, JOB)).status).toBe("pending");
  });
});

describe("resolutions", () => {
  test("are for calls that nobody knows about, and the second one hears of the first", async () => {
    await unknownCall();
    const drive = openDrive();
    await drive.resolve(JOB, EFFECT, { kind: "done", result: 5 }, ANN);
    await expect(drive.resolve(JOB, EFFECT, { kind: "not-done" }, ANN)).rejects.toMatchObject({ code: "E_CONFLICT" });
    expect(await inboxOf(local.kv, JOB)).toEqual([
      { kind: "resolve", effect: EFFECT, resolution: { kind: "done", result: 5 }, principal: "ann" },
    ]);
  });

  test("are refused for any other call", async () => {
    const drive = openDrive();
    await expect(drive.resolve(JOB, EFFECT, { kind: "not-done" }, ANN)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    const row = await unknownCall();
    await jobWith(local.kv, "job-2", { events: [], tools: [{ row: { ...row, state: "granted" }, before: "none" }] });
    const granted = drive.resolve(parseJobId("job-2"), EFFECT, { kind: "not-done" }, ANN);
    await expect(granted).rejects.toMatchObject({ code: "E_CONFLICT", details: { state: "granted" } });
    await expect(drive.resolve(JOB, sha256("other"), { kind: "not-done" }, ANN)).rejects.toMatchObject({
      code: "E_NOT_FOUND",
    });
  });
});

test("what waits for the store when the node stops is told so", async () => {
  await runningJob(local.kv, JOB);
  const drive = openDrive();
  const late = drive.signal(JOB, signal("go", 1), ANN);
  const heard = expect(late).rejects.toMatchObject({ code: "E_UNAVAILABLE", outcome: "unknown" });
  await writers[0]?.close();
  await heard;
  await expect(drive.signal(JOB, signal("go", 2), ANN)).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
});
