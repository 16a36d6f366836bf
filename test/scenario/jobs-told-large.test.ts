// Jobs that are told values of many KiB from outside, through the real doors over the real store: they are stored apart
// before anything names them, and the job gets them whole, whatever becomes of its node and however it is done again.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../src/base/errors.ts";
import { parseJobId, type JobId } from "../../src/base/ids.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { KiB, MiB } from "../../src/base/units.ts";
import { present } from "../../src/base/assert.ts";
import { LinesDigest } from "../../src/jobs/core/explain/export-line.ts";
import { JobsDrive } from "../../src/jobs/doors/jobs-drive.ts";
import { RepeatJobs } from "../../src/jobs/doors/repeat-jobs.ts";
import { StartJobs } from "../../src/jobs/doors/start-jobs.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { inboxKey, rowKey, specKey } from "../../src/jobs/core/life/job-keys.ts";
import { blobOf } from "../../src/jobs/core/log/event.ts";
import { readEvent } from "../../src/jobs/core/log/upcast.ts";
import { chunkCountOf, chunkKey, type BlobRef } from "../../src/jobs/core/payloads/blob.ts";
import { toldValue } from "../../src/jobs/core/payloads/told-value.ts";
import { digestOfPlain } from "../../src/jobs/core/plain-digest.ts";
import { parseJobRow, parseJobSpec } from "../../src/jobs/core/rows.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { JOB_TOLD_BYTES_MAX, PAYLOAD_KEEP_MS_MAX } from "../../src/jobs/limits.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import { PayloadRoom } from "../../src/jobs/payloads/payload-room.ts";
import { PayloadStore } from "../../src/jobs/payloads/payload-store.ts";
import { JobPayloads } from "../../src/jobs/doors/job-payloads.ts";
import type { Op } from "../../src/kvstore/core/schema.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import type { StoreUsage } from "../../src/kvstore/kv.ts";
import { defineAgent } from "../../src/sdk/agent.ts";
import { defineSignal } from "../../src/sdk/signal.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { linesOf, verdictOf } from "../support/exported-job.ts";
import { jobStore, PIN } from "../support/job-log.ts";
import { haveEnded } from "../support/job-node.ts";
import { resultOf } from "../support/job-rows.ts";
import { JobsWorld } from "../support/jobs-world.ts";
import { payloadsIn } from "../support/kept-payloads.ts";

const ANN = { principal: "ann", tenant: "default" };
const JOB = parseJobId("told-1");
const LARGE = 300 * KiB;

interface NumberedBlob {
  readonly blob: BlobRef;
  readonly seq: number;
}

const papers = defineSignal("papers", z.object({ text: z.string(), pages: z.array(z.int()) }));
const ENDS = ["complete", "fail", "continue"] as const;
const reading = defineAgent({
  name: "reading",
  input: z.object({ text: z.string(), end: z.enum(ENDS) }),
  output: z.object({ input: z.string(), signal: z.string(), pages: z.int() }),
  signals: [papers],
  run: async (job, { text, end }) => {
    const input = await job.step("input", () => said(text));
    if (end === "continue") return await job.continueAs({ text: `${text}+`, end: "complete" });
    const told = await job.waitFor(papers);
    if (end === "fail" && !mayPass) throw new RangeError("not yet");
    return { input, signal: said(told?.text ?? ""), pages: told?.pages.length ?? 0 };
  },
});

let mayPass: boolean;
let draws: number;
let inbox: InboxWriter;

const world = new JobsWorld([reading]);
beforeEach(freshWorld);
afterEach(closeWorld);

async function freshWorld(): Promise<void> {
  await world.begin();
  [mayPass, draws] = [false, 0];
  inbox = new InboxWriter(world, { kv: world.kv, onFatal: (error) => expect.unreachable(String(error)) });
}

async function closeWorld(): Promise<void> {
  await inbox.close();
  await world.close();
}

function said(text: string): string {
  return `${text.slice(0, 1)}${text.length}${text.slice(-1)}`;
}

const pins = {
  resolve: async () => PIN, renew: async () => undefined, needsOf: async () => ({}),
  definitionOf: async () => undefined,
};

function starts(payloads = payloadsIn(world.kv)): StartJobs {
  return new StartJobs({ clock: world.clock, random: new SeededRandom(draws += 1) }, {
    kv: world.kv, pins, payloads, queued: () => 0, metrics: createJobsMetrics(SILENT_TELEMETRY),
  }, { pendingMax: 100 });
}

function drive(payloads = payloadsIn(world.kv)): JobsDrive {
  return new JobsDrive({ clock: world.clock, kv: world.kv, inbox, pins, payloads });
}

function repeats(): RepeatJobs {
  return new RepeatJobs({ clock: world.clock, random: new SeededRandom(draws += 1) }, {
    kv: world.kv, log: jobStore(world.clock, world.kv), pins, payloads: payloadsIn(world.kv),
    checkRoom: () => undefined,
  });
}

async function start(end: (typeof ENDS)[number], letter = "i", id = JOB): Promise<void> {
  await starts().start({ agent: "reading", id, input: { text: letter.repeat(LARGE), end } }, ANN);
}

async function tell(job: JobId = JOB, idempotencyKey = "k"): Promise<void> {
  const pages = Array.from({ length: 30_000 }, (_, index) => index);
  await drive().signal(job, { name: "papers", payload: { text: "s".repeat(LARGE), pages }, idempotencyKey }, ANN);
}

async function outputOf(job: JobId): Promise<unknown> {
  const result = await resultOf(world.kv, job);
  return result.kind === "completed" ? result.output : result;
}

async function rowsOf(kind: "job-blobs" | "job-blob-refs" | "jobs"): Promise<number> {
  return (await world.kv.list({ prefix: prefixOf({ kind }) })).entries.length;
}

const isOver = (...jobs: readonly JobId[]) => (): Promise<boolean> => haveEnded(world.kv, jobs);
const READ = { input: `i${LARGE}i`, signal: `s${LARGE}s`, pages: 30_000 };

describe("a job with an input and a signal above 64 KiB", () => {
  test("has them apart from its rows, and gets them whole", async () => {
    await start("complete");
    await tell();
    const spec = parseJobSpec((await world.kv.get(specKey(refOf(JOB)))).entry?.value);
    const whole = { text: "i".repeat(LARGE), end: "complete" };
    expect(spec).toMatchObject({ input: null, inputDigest: digestOfPlain(whole) });
    expect(spec.inputBlob).toMatchObject({ digest: digestOfPlain(whole) });
    expect((await world.kv.get(inboxKey(refOf(JOB), 1))).entry?.value).toMatchObject({ payload: null, blob: {} });
    expect([await rowsOf("job-blobs"), await rowsOf("job-blob-refs")]).toEqual([2, 2]);
    await world.openNode("a").goOn(isOver(JOB));
    expect(await outputOf(JOB)).toEqual(READ);
  });

  test("is the same job for the same input again, whatever the order of its fields, and no other one", async () => {
    const text = "i".repeat(LARGE);
    const keyed = { agent: "reading", idempotencyKey: "k" };
    const first = await starts().start({ ...keyed, input: { text, end: "fail" } }, ANN);
    const second = await starts().start({ ...keyed, input: { end: "fail", text } }, ANN);
    expect([second.job, second.isNew]).toEqual([first.job, false]);
    const other = starts().start({ ...keyed, input: { text: `${text}!`, end: "fail" } }, ANN);
    await expect(other).rejects.toMatchObject({ code: "E_CONFLICT" });
    await tell(first.job);
    await tell(first.job);
    const more = drive().signal(first.job, { name: "papers", payload: text, idempotencyKey: "k" }, ANN);
    await expect(more).rejects.toMatchObject({ code: "E_CONFLICT" });
    expect(await rowsOf("jobs")).toBe(1);
  });

  test.each(["lost", "applied"] as const)("goes on when its node dies at any write, which is %s", async (fate) => {
    let at = 1;
    for (; ; at++) {
      await closeWorld();
      await freshWorld();
      await start("complete");
      const first = world.openNode("a", { dies: { at, fate } });
      await first.goOn(async () => await isOver(JOB)() || await statusOf(JOB) === "waiting");
      await tell();
      if (!first.isDead) await first.goOn(isOver(JOB));
      const isLast = !first.isDead;
      await first.close(world.kv);
      await world.openNode("b").goOn(isOver(JOB));
      expect(await outputOf(JOB), `write ${at}`).toEqual(READ);
      if (isLast) break;
    }
    expect(at).toBeGreaterThan(5);
  }, 60_000);

  test("has them also as the job that retries it, forks it with another input, or continues as a new run", async () => {
    const [retried, forked, continued] = ["retried", "forked", "continued"].map(parseJobId);
    if (retried === undefined || forked === undefined || continued === undefined) return expect.unreachable();
    await start("fail");
    await tell();
    await world.openNode("a").goOn(isOver(JOB));
    expect(await outputOf(JOB)).toMatchObject({ kind: "failed" });
    mayPass = true;
    await repeats().repeat(JOB, { what: { kind: "retry" }, id: retried }, ANN);
    await start("continue", "c", continued);
    await tell(continued);
    await world.openNode("b").goOn(isOver(retried, continued));
    expect(await outputOf(retried)).toEqual(READ);
    expect(await outputOf(continued)).toEqual({ ...READ, input: `c${LARGE + 1}+` });
    const input = { text: "f".repeat(2 * LARGE), end: "complete" };
    await repeats().repeat(retried, { what: { kind: "fork", at: "input#1", input }, id: forked }, ANN);
    await tell(forked);
    await world.openNode("c").goOn(isOver(forked));
    expect(await outputOf(forked)).toEqual({ ...READ, input: `f${2 * LARGE}f` });
  });
});

describe("the export of a job with large values", () => {
  /** Names and the number of the event that has them; in order. */
  async function exported(): Promise<{ readonly lines: readonly string[]; readonly named: readonly NumberedBlob[] }> {
    await start("complete");
    await tell();
    await world.openNode("a").goOn(isOver(JOB));
    const { log } = await jobStore(world.clock, world.kv).load(refOf(JOB));
    const named = log.flatMap((bytes, index) => {
      const blob = blobOf(readEvent(bytes).event);
      return blob === undefined ? [] : [{ blob, seq: index + 1 }];
    });
    return { lines: await linesOf(world.kv, JOB), named };
  }

  function about({ blob, seq }: NumberedBlob): object {
    return expect.objectContaining({ seq, reason: expect.stringContaining(blob.digest) as unknown }) as object;
  }

  test("has them, and a flipped, missing or exchanged part is named, with its event", async () => {
    const { lines, named } = await exported();
    expect(verdictOf(lines)).toMatchObject({ problems: [] });
    expect(named.map(({ seq }) => seq)).toEqual([1, expect.any(Number)]);
    const payloads = lines.flatMap((line, at) => (line.startsWith('{"kind":"payload"') ? [at] : []));
    expect(payloads.length).toBe(named.reduce((sum, { blob }) => sum + chunkCountOf(blob), 0));
    for (const at of payloads) {
      const line = JSON.parse(lines[at] ?? "") as { digest: string; part: number; bytes: string };
      const owner = present(named.find(({ blob }) => blob.digest === line.digest), "an event names it");
      const bytes = Buffer.from(line.bytes, "base64");
      bytes[bytes.length - 7] = (bytes.at(-7) ?? 0) ^ 1;
      const flipped = JSON.stringify({ ...line, bytes: bytes.toString("base64") });
      const moved = JSON.stringify({ ...line, part: line.part + 1 });
      for (const other of [[flipped], [moved], [], [lines[at] ?? "", lines[at] ?? ""]]) {
        expect(verdictOf(lines.toSpliced(at, 1, ...other)).problems).toContainEqual(about(owner));
      }
    }
    const without = lines.filter((_, at) => !payloads.includes(at));
    for (const owner of named) expect(verdictOf(without).problems).toContainEqual(about(owner));
  });

  test("says which of them is not whole in the store", async () => {
    const { named } = await exported();
    for (const owner of named) {
      const key = chunkKey(owner.blob, 1);
      const value = (await world.kv.get(key)).entry?.value;
      const other = Buffer.from(value as Uint8Array).fill(7, 3, 4);
      const damages: readonly Op[] = [
        { kind: "put", key, value: other }, { kind: "put", key, value: other.subarray(1) }, { kind: "delete", key },
      ];
      for (const damage of damages) {
        await world.kv.transact({ compare: [], then: [damage], else: [] });
        expect(verdictOf(await linesOf(world.kv, JOB)).problems).toEqual([about(owner)]);
      }
      await world.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
    }
    expect(verdictOf(await linesOf(world.kv, JOB)).problems).toEqual([]);
  });

  test("of a version that had no payloads in it is whole without them", async () => {
    const { lines: [first = "", ...lines] } = await exported();
    const kept = lines.filter((line) => !line.startsWith('{"kind":"payload"'));
    const old = [first.replace('"format":2', '"format":1'), ...kept];
    const digest = new LinesDigest();
    for (const line of old.slice(0, -1)) digest.add(line);
    const end = JSON.stringify({ kind: "end", lines: digest.lines, digest: digest.text });
    expect(verdictOf([...old.slice(0, -1), end]).problems).toEqual([]);
  });
});

describe("nothing is told, and no row names anything, when it", () => {
  test("is above the limit, which is said", async () => {
    await start("complete");
    const text = "x".repeat(JOB_TOLD_BYTES_MAX + 1);
    const started = starts().start({ agent: "reading", input: { text, end: "fail" } }, ANN);
    const told = drive().signal(JOB, { name: "papers", payload: text }, ANN);
    for (const refused of [started, told]) {
      await expect(refused).rejects.toMatchObject({ code: "E_TOO_LARGE", details: { limit: JOB_TOLD_BYTES_MAX } });
    }
    expect([await rowsOf("jobs"), await rowsOf("job-blobs")]).toEqual([1, 1]);
  });

  test("has no room in the store", async () => {
    const full: StoreUsage = { liveBytes: 99 * MiB, quotaBytes: 99 * MiB + LARGE };
    const payloads = payloadsIn(world.kv, () => full);
    const started = starts(payloads).start({ agent: "reading", input: "x".repeat(2 * LARGE) }, ANN);
    await expect(started).rejects.toMatchObject({ code: "E_QUOTA", outcome: "not-applied" });
    expect([await rowsOf("jobs"), await rowsOf("job-blobs")]).toEqual([0, 0]);
  });

  test("cannot be stored in time", async () => {
    const away = async (): Promise<never> => {
      throw new AetherError("E_NO_QUORUM", "no majority");
    };
    const store = new PayloadStore({ clock: world.clock, telemetry: SILENT_TELEMETRY }, { get: away, transact: away });
    const usage = (): StoreUsage => ({ liveBytes: 0, quotaBytes: MiB });
    const payloads = new JobPayloads(world, { store, room: new PayloadRoom(), usage });
    const ended = expect(starts(payloads).start({ agent: "reading", input: "x".repeat(LARGE) }, ANN)).rejects
      .toMatchObject({ code: "E_UNAVAILABLE", outcome: "not-applied" });
    for (let passedMs = 0; passedMs <= PAYLOAD_KEEP_MS_MAX; passedMs += 500) await world.clock.advance(500);
    await ended;
    expect(await rowsOf("jobs")).toBe(0);
  });

  test("is of a payload that was taken away before it was named", async () => {
    const told = toldValue({ value: "x".repeat(LARGE), bytes: LARGE });
    const forgetful = { keep: async () => ({ blob: { digest: told.digest, bytes: told.large?.byteLength ?? 0 } }) };
    await start("complete");
    const signal = new JobsDrive({ clock: world.clock, kv: world.kv, inbox, pins, payloads: forgetful })
      .signal(JOB, { name: "papers", payload: "x".repeat(LARGE) }, ANN);
    await expect(signal).rejects.toMatchObject({ code: "E_OVERLOADED" });
    expect((await world.kv.get(inboxKey(refOf(JOB), 1))).entry).toBeUndefined();
  });
});

async function statusOf(job: JobId): Promise<string> {
  return parseJobRow((await world.kv.get(rowKey(refOf(job)))).entry?.value).status;
}
