// Webhooks over the real store: what they are told is written with the event, and told at least once, whenever the
// leader dies; what cannot be told ends, and holds up nobody.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../src/base/digest.ts";
import { parseJobId } from "../../src/base/ids.ts";
import { parseUntoldRow, type NoticeEvent } from "../../src/jobs/core/flow/notice.ts";
import { refOf, type CallName } from "../../src/jobs/core/ids.ts";
import { decideAppend, decideFinish, decideWait } from "../../src/jobs/core/life/decide.ts";
import { untoldKey } from "../../src/jobs/core/life/job-keys.ts";
import { JobStore } from "../../src/jobs/job-store.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import type { Decision, JobView } from "../../src/jobs/ports.ts";
import type { NoticeRequest } from "../../src/jobs/webhooks/notice-sender.ts";
import { WEBHOOKS_MAX, webhookSchema, type Webhook } from "../../src/jobs/webhooks/webhook.ts";
import { WEBHOOK_REQUESTS_MAX, WebhookDriver } from "../../src/jobs/webhooks/webhook-driver.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { LEADER_KEY, prefixOf } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { viewOf } from "../support/job-log.ts";
import { runningJob } from "../support/job-rows.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const MINUTE_MS = 60_000;
const SETTLE_MS_MAX = 60_000;
const ROWS_MAX = 100;
const EVERYTHING = hook("everything");
const SECRETS = { "hook-key": "a secret of eighteen" };

let clock: ManualClock;
let local: LocalKv;
let leaders: Leader[];

beforeEach(async () => {
  clock = new ManualClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  local = await opening;
  leaders = [];
});

afterEach(async () => {
  for (const leader of leaders) await leader.end();
  await settled(local.close());
});

function hook(name: string, over: Partial<Webhook> = {}): Webhook {
  return webhookSchema.parse({ name, url: `https://${name}.example/`, secret: "hook-key", ...over });
}

async function settled<T>(work: Promise<T>): Promise<T> {
  return await clock.settled(work, SETTLE_MS_MAX);
}

/** What a receiver answers; `hang` never does. */
type Answer = number | "hang" | "broken";

/** A node that leads, until it dies at one of its questions to the store or to a receiver. */
class Leader {
  isAlive = true;
  diesAt = Infinity;
  diesWhen: "before" | "after" = "before";
  private asked = 0;
  private readonly driver: WebhookDriver;

  constructor(answer: (request: NoticeRequest) => Answer, hooks: readonly Webhook[] = [EVERYTHING]) {
    const kv: Kv = {
      get: (key, options) => this.ask(() => local.kv.get(key, options)),
      list: (query, options) => local.kv.list(query, options),
      watch: (prefix, handlers, options) => local.kv.watch(prefix, handlers, options),
      transact: (txn, options) => this.ask(() => local.kv.transact(txn, options)),
      get revision() {
        return local.kv.revision;
      },
      get oldestRevision() {
        return local.kv.oldestRevision;
      },
    };
    this.driver = new WebhookDriver({ clock, telemetry: SILENT_TELEMETRY }, {
      kv,
      leadership: { fence: () => (this.isAlive ? unchanged(LEADER_KEY, 0) : undefined) },
      sender: { send: (request, signal) => this.ask(() => answered(answer(request), signal)) },
      secrets: SECRETS,
      metrics: createJobsMetrics(SILENT_TELEMETRY),
      onFatal: (error) => expect.unreachable(String(error)),
    }, hooks, { rowsMax: ROWS_MAX });
    this.driver.start();
    leaders.push(this);
  }

  async end(): Promise<void> {
    this.isAlive = false;
    // What a killed process waits for never comes.
    if (this.asked < this.diesAt) await settled(this.driver.close());
  }

  private async ask<T>(question: () => Promise<T>): Promise<T> {
    this.asked += 1;
    if (this.asked < this.diesAt) return await question();
    const wasAlive = this.isAlive;
    this.isAlive = false;
    if (wasAlive && this.diesWhen === "after") await question();
    return await new Promise(() => undefined);
  }
}

async function answered(answer: Answer, signal: AbortSignal): Promise<{ readonly status: number }> {
  if (typeof answer === "number") return { status: answer };
  if (answer === "broken") throw new TypeError("fetch failed");
  return await new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(new RangeError("aborted")));
    clock.setTimer(10_000, () => reject(new DOMException("too late", "TimeoutError")));
  });
}

async function commit(decision: Decision, hooks: readonly Webhook[] = [EVERYTHING]): Promise<JobView> {
  if (decision.kind === "refused") throw new RangeError(decision.reason);
  const metrics = createJobsMetrics(SILENT_TELEMETRY);
  const store = new JobStore({ clock, telemetry: SILENT_TELEMETRY }, { kv: local.kv, metrics, webhooks: hooks });
  return viewOf(await settled(store.commit(decision)));
}

/** A job that has ended, whose webhooks wait to be told. */
async function endJob(id: string, hooks?: readonly Webhook[]): Promise<void> {
  const view = await settled(runningJob(local.kv, id));
  const atMs = clock.wallMs();
  await commit(decideFinish(view, { events: [], atMs }, { result: { kind: "completed", output: "a secret" } }), hooks);
}

async function waiting(): Promise<number> {
  const page = await settled(local.kv.list({ prefix: prefixOf({ kind: "job-notices" }) }, { consistency: "local" }));
  return page.entries.length;
}

async function untold(job: string): Promise<unknown> {
  const { entry } = await settled(local.kv.get(untoldKey(refOf(parseJobId(job))), { consistency: "local" }));
  return entry === undefined ? undefined : parseUntoldRow(entry.value);
}

/** Until nothing waits, or this leader is dead. */
async function untilTold(leader: Leader): Promise<void> {
  const untilMs = clock.nowMs() + 10 * MINUTE_MS;
  while (leader.isAlive && clock.nowMs() < untilMs && await waiting() > 0) await clock.advance(5_000);
}

describe("what is told", () => {
  test("is written with the event, for each webhook that wants it, and says nothing of what a job has", async () => {
    const people = hook("people", { events: ["approval", "unknown", "budget", "stuck"] });
    const others = hook("others", { agents: ["mailer"] });
    const hooks = [EVERYTHING, people, others];
    const shown = sha256("shown");
    const asked = {
      type: "approval.requested", call: "manager#1" as CallName, name: "manager", summary: "a secret", data: "a secret",
      shown,
    } as const;
    const running = await settled(runningJob(local.kv, "j1"));
    const view = await commit(decideAppend(running, { events: [asked], atMs: 1 }), hooks);
    expect(await waiting()).toBe(2);
    const doubtful = await commit(decideWait(view, { events: [], atMs: 1 }, { reason: "unknown", on: [] }), hooks);
    expect(doubtful.row.waiting?.reason).toBe("unknown");
    expect(await waiting()).toBe(4);
    const poor = await settled(runningJob(local.kv, "j3"));
    const short = { reason: "budget", on: ["budget"], why: "a secret" } as const;
    await commit(decideWait(poor, { events: [], atMs: 1 }, short), hooks);
    expect(await waiting()).toBe(6);
    await endJob("j2", hooks);
    const requests: NoticeRequest[] = [];
    new Leader((request) => (requests.push(request), 200), hooks);
    await clock.advance(2_000);
    expect(await waiting()).toBe(0);
    const bodies = requests.map(({ url, body }) => [new URL(url).hostname, JSON.parse(body) as unknown] as const);
    expect(bodies.map(([host, body]) => [host, (body as { event: NoticeEvent }).event]).sort()).toEqual([
      ["everything.example", "approval"], ["everything.example", "budget"], ["everything.example", "ended"],
      ["everything.example", "unknown"], ["people.example", "approval"], ["people.example", "budget"],
      ["people.example", "unknown"],
    ]);
    expect(bodies).toContainEqual(["people.example", {
      v: 1, id: expect.any(String) as string, event: "approval", job: "j1", agent: "claims", tenant: "default",
      atMs: expect.any(Number) as number, run: 1, seq: 3, call: "manager#1", path: "/v1/jobs/j1",
    }]);
    expect(requests.filter(({ body }) => body.includes("secret"))).toEqual([]);
    const keys = requests.map(({ headers, url }) => `${url} ${headers["idempotency-key"] ?? ""}`);
    expect(new Set(keys).size).toBe(7);
  });

  test("has its place where an end sweeps an inbox, and no more than there is elsewhere", async () => {
    const hooks = Array.from({ length: WEBHOOKS_MAX }, (_, at) => hook(`h${at}`));
    const ending = await settled(runningJob(local.kv, "j1"));
    const end = { result: { kind: "cancelled" as const }, unread: Array.from({ length: 200 }, (_, n) => n + 1) };
    await commit(decideFinish(ending, { events: [], atMs: 1 }, end), hooks);
    expect(await waiting()).toBe(WEBHOOKS_MAX);
    const asking = await settled(runningJob(local.kv, "j2"));
    const events = Array.from({ length: 10 }, (_, at) => ({
      type: "approval.requested" as const, call: `m#${at}` as CallName, name: "m", summary: "?", data: 1,
      shown: sha256("x"),
    }));
    const asked = await commit(decideAppend(asking, { events, atMs: 1 }), hooks);
    expect(asked.head.seq).toBe(12);
    expect(await waiting()).toBeGreaterThan(WEBHOOKS_MAX + 100);
  });

  test("is not there when nobody wants to hear of it", async () => {
    await endJob("j1", []);
    await endJob("j2", [hook("others", { agents: ["mailer"] })]);
    expect(await waiting()).toBe(0);
  });
});

describe("what cannot be told", () => {
  const refusals: readonly Answer[] = [500, 302, "hang", "broken"];

  test.each(refusals)("for a receiver that answers %s ends after five tries", async (answer) => {
    await endJob("j1");
    const requests: NoticeRequest[] = [];
    new Leader((request) => (requests.push(request), answer));
    await clock.advance(MINUTE_MS);
    expect(requests.length).toBeGreaterThanOrEqual(3);
    expect(await untold("j1")).toBeUndefined();
    await clock.advance(10 * MINUTE_MS);
    expect(requests).toHaveLength(5);
    expect(new Set(requests.map(({ headers }) => headers["idempotency-key"])).size).toBe(1);
    expect(await waiting()).toBe(0);
    expect(await untold("j1")).toMatchObject({ count: 1, last: [{ hook: "everything", event: "ended" }] });
  });

  test("for a webhook that the node that leads does not have, and one without a secret there, ends too", async () => {
    await endJob("j1", [hook("elsewhere"), hook("bare", { secret: "unknown" })]);
    new Leader(() => expect.unreachable("nobody is asked"), [hook("bare", { secret: "unknown" })]);
    await clock.advance(10 * MINUTE_MS);
    expect(await waiting()).toBe(0);
    expect(await untold("j1")).toMatchObject({ count: 2 });
  });

  test("holds up no other webhook, and grows no further than its bound", async () => {
    const slow = hook("slow");
    const quick = hook("quick");
    for (let at = 0; at < ROWS_MAX + 20; at++) await endJob(`j${at}`, [slow, quick]);
    const told = { slow: 0, quick: 0 };
    new Leader(({ url }) => {
      if (url.includes("quick")) told.quick += 1;
      else told.slow += 1;
      return url.includes("quick") ? 200 : "hang";
    }, [slow, quick]);
    await clock.advance(5_000);
    expect(told.slow).toBe(WEBHOOK_REQUESTS_MAX);
    expect(told.quick).toBeGreaterThan(50);
    await clock.advance(2 * MINUTE_MS);
    expect(await waiting()).toBeLessThanOrEqual(ROWS_MAX);
    expect(told.quick).toBe(ROWS_MAX);
    const reason = expect.stringContaining("too many") as string;
    expect(await untold("j0")).toMatchObject({ last: expect.arrayContaining([
      expect.objectContaining({ hook: "slow", reason }),
    ]) as unknown });
  });
});

describe.each(["before", "after"] as const)("a leader that dies %s any of its questions", (moment) => {
  test.each(["told", "given up"])("leaves what the next one ends, told at least once: %s", async (end) => {
    let points = 0;
    for (let at = 1, isReached = true; isReached; at++) {
      const job = `j${at}`;
      await endJob(job);
      const requests: string[] = [];
      const receiver = ({ body }: NoticeRequest): Answer => {
        requests.push((JSON.parse(body) as { job: string }).job);
        return end === "told" ? 200 : 500;
      };
      const leader = new Leader(receiver);
      Object.assign(leader, { diesAt: at, diesWhen: moment });
      await untilTold(leader);
      isReached = !leader.isAlive;
      points += isReached ? 1 : 0;
      await leader.end();
      const next = new Leader(receiver);
      await untilTold(next);
      await next.end();
      expect(await waiting(), `question ${at}`).toBe(0);
      expect(requests.length, `question ${at}`).toBeGreaterThanOrEqual(end === "told" ? 1 : 5);
      expect(requests.length, `question ${at}`).toBeLessThanOrEqual(end === "told" ? 2 : 6);
      if (end === "told") expect(await untold(job)).toBeUndefined();
      else expect(await untold(job)).toMatchObject({ count: 1 });
    }
    expect(points).toBeGreaterThanOrEqual(end === "told" ? 2 : 12);
  });
});
