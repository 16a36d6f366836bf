import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseJobId } from "../../../../src/base/ids.ts";
import type { InboxEntry } from "../../../../src/jobs/core/flow/inbox-entry.ts";
import { decideAppend, decideClaim, decideFinish } from "../../../../src/jobs/core/life/decide.ts";
import { decideInbox } from "../../../../src/jobs/core/life/decide-inbox.ts";
import { JobsService } from "../../../../src/jobs/doors/jobs-service.ts";
import { JobWatch } from "../../../../src/jobs/job-watch.ts";
import type { JobResult } from "../../../../src/jobs/core/rows.ts";
import type { JobView } from "../../../../src/jobs/ports.ts";
import { formatKey } from "../../../../src/kvstore/core/key.ts";
import type { KvWatchHandlers } from "../../../../src/kvstore/kv.ts";
import { AetherError } from "../../../../src/base/errors.ts";
import { createRealClock } from "../../../../src/node/env-clock-adapter.ts";
import { SILENT_TELEMETRY } from "../../../support/cluster-world.ts";
import {
  JOB, jobStore, life, putPin, runningJob, startJob, stepDone, transitionOf, viewOf,
} from "../../../support/job-log.ts";
import { createLocalKv, type LocalKv } from "../../../support/local-kv.ts";

const AT = { atMs: 4_000 };
const pending = { why: (): undefined => undefined };
const DONE: JobResult = { kind: "completed", output: { paid: true } };
const clock = createRealClock();
let local: LocalKv;
let watch: JobWatch;
let service: JobsService;

beforeEach(async () => {
  local = await createLocalKv();
  await putPin(local.kv);
  watch = new JobWatch({ clock, telemetry: SILENT_TELEMETRY }, local.kv);
  watch.open();
  service = new JobsService({ clock }, { kv: local.kv, watch, pending });
});
afterEach(async () => {
  watch.close();
  await local.close();
});

async function append(view: JobView, ...names: string[]): Promise<JobView> {
  const events = names.map((name) => stepDone(name));
  return viewOf(await jobStore(clock, local.kv).commit(transitionOf(decideAppend(view, { events, ...AT }))));
}

async function finish(view: JobView): Promise<void> {
  const decision = transitionOf(decideFinish(view, { events: [], ...AT }, { result: DONE }));
  viewOf(await jobStore(clock, local.kv).commit(decision));
}

describe("one job", () => {
  test("is shown with its head, what was started, and its result", async () => {
    const view = await append(await runningJob(clock, local.kv), "a");
    expect(await service.show(JOB)).toMatchObject({ job: JOB, row: { status: "running" }, head: { seq: 3, steps: 1 } });
    await finish(view);
    const shown = await service.show(JOB);
    expect(shown).toMatchObject({ row: { status: "completed" }, spec: { input: { order: 7 } }, result: DONE });
  });

  test("that is not there is said so", async () => {
    for (const ask of [service.show(JOB), service.events(JOB, {}), service.result(JOB, 0)]) {
      await expect(ask).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    }
  });

  test("has its events in pages, from any of them on", async () => {
    let view = await runningJob(clock, local.kv);
    for (let page = 0; page < 5; page++) {
      view = await append(view, ...Array.from({ length: 30 }, (_, index) => `p${page}-${index}`));
    }
    const all = await service.events(JOB, {});
    expect(all.events.map(({ seq }) => seq)).toEqual(Array.from({ length: 152 }, (_, index) => index + 1));
    expect(all.more).toBe(false);
    expect(all.events.at(-1)?.link).toBe(Buffer.from(view.head.link).toString("hex"));
    for (const afterSeq of [0, 1, 2, 31, 32, 33, 90, 151, 152]) {
      const some = await service.events(JOB, { afterSeq, limit: 20 });
      expect(some.events).toEqual(all.events.slice(afterSeq, afterSeq + 20));
      expect(some.more).toBe(afterSeq + 20 < 152);
    }
  });
});

describe("the result of a job", () => {
  test("comes as soon as it has ended", async () => {
    const view = await runningJob(clock, local.kv);
    expect(await service.result(JOB, 0)).toBeUndefined();
    const waiting = service.result(JOB, 60_000);
    await append(view, "a").then(finish);
    expect(await waiting).toEqual(DONE);
    expect(await service.result(JOB, 60_000)).toEqual(DONE);
  });

  test("is what the code answered, also what is no plain value of the store", async () => {
    const deep = Array.from({ length: 80 }).reduce<unknown>((inner) => [inner], "inside");
    const result: JobResult = { kind: "completed", output: { none: undefined, ratio: Number.NaN, deep } };
    const decision = decideFinish(await runningJob(clock, local.kv), { events: [], ...AT }, { result });
    viewOf(await jobStore(clock, local.kv).commit(transitionOf(decision)));
    expect(await service.result(JOB, 0)).toEqual(result);
  });

  test("is not waited for longer than said, or than its caller lives", async () => {
    await runningJob(clock, local.kv);
    expect(await service.result(JOB, 5)).toBeUndefined();
    const gone = new AbortController();
    const waiting = service.result(JOB, 60_000, { signal: gone.signal });
    gone.abort(new RangeError("gone"));
    await expect(waiting).rejects.toThrow();
  });

  test("is not missed when the watch was interrupted", async () => {
    const opened: KvWatchHandlers[] = [];
    const deaf = new JobWatch({ clock, telemetry: SILENT_TELEMETRY }, {
      watch: (_, handlers) => {
        opened.push(handlers);
        return { cancel: () => undefined, requestProgress: () => undefined };
      },
    });
    deaf.open();
    const waiting = new JobsService({ clock }, { kv: local.kv, watch: deaf, pending }).result(
      (await startJob(local.kv)).ref.job, 60_000,
    );
    const { view } = await jobStore(clock, local.kv).load({ partition: 0, job: JOB });
    const claim = transitionOf(decideClaim(view, { life: life("a"), ...AT }));
    await finish(viewOf(await jobStore(clock, local.kv).commit(claim)));
    for (const handlers of [...opened]) handlers.onEnd(new AetherError("E_COMPACTED", "too far behind"));
    expect(await waiting).toEqual(DONE);
    deaf.close();
  });
});

describe("a listing", () => {
  beforeEach(async () => {
    for (const [index, agent] of ["refunds", "claims", "refunds", "claims", "refunds"].entries()) {
      const attributes = { parity: index % 2 === 0 ? "even" : "odd", third: String(index === 2) };
      await startJob(local.kv, { job: parseJobId(`job-${index}`), agent, attributes });
    }
  });

  async function ids(query: Parameters<JobsService["list"]>[0]): Promise<readonly string[]> {
    const found: string[] = [];
    for (let after = query.after; ;) {
      const { jobs, more, next } = await service.list({ ...query, ...(after !== undefined && { after }) });
      found.push(...jobs.map(({ job }) => job.slice("job-".length)));
      if (!more || next === undefined) return found;
      after = next;
    }
  }

  test.each([
    [{}, "0 1 2 3 4"],
    [{ agent: "refunds" }, "0 2 4"],
    [{ agent: "nobody" }, ""],
    [{ status: "pending" as const }, "0 1 2 3 4"],
    [{ status: "failed" as const }, ""],
    [{ attributes: { parity: "even" } }, "0 2 4"],
    [{ agent: "refunds", attributes: { third: "true" } }, "2"],
  ])("with the filter %o has %s, whatever the page", async (filter, expected) => {
    for (const limit of [1, 2, 5, 100]) expect((await ids({ ...filter, limit })).join(" ")).toBe(expected);
  });

  test("leaves out a job whose row is damaged", async () => {
    const key = formatKey({ kind: "job", partition: 0, job: parseJobId("job-2") });
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: "?" }], else: [] });
    expect(await ids({})).toEqual(["0", "1", "3", "4"]);
    expect(await ids({ agent: "refunds", limit: 1 })).toEqual(["0", "4"]);
  });

  test("of a size that is none is refused", async () => {
    await expect(service.list({ limit: 0 })).rejects.toMatchObject({ code: "E_INVALID" });
    await expect(service.list({ limit: 1_001 })).rejects.toMatchObject({ code: "E_INVALID" });
  });
});

describe("who listens to a job", () => {
  test("hears of its row and its inbox, and of no other's, until it ends", async () => {
    const heard: string[] = [];
    const end = watch.listen(JOB, {
      onRow: (_, revision) => heard.push(`row ${revision}`),
      onEntry: (n, value) => heard.push(`entry ${n} ${JSON.stringify(value)}`),
      onGap: () => heard.push("gap"),
    });
    const view = await runningJob(clock, local.kv);
    await startJob(local.kv, { job: parseJobId("other") });
    const entry: InboxEntry = { kind: "cancel", principal: "me" };
    const inbox = decideInbox({ ...view, folded: 0 }, [{ entry }], 1);
    if (inbox.kind === "refused") throw new RangeError(inbox.reason);
    await local.kv.transact(inbox.txn);
    await expect.poll(() => heard).toEqual(["row 2", "row 3", 'entry 1 {"kind":"cancel","principal":"me"}']);
    end();
    await finish(view);
    await service.result(JOB, 0);
    expect(heard).toHaveLength(3);
  });
});
