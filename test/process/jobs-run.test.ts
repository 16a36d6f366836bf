// Slow. Jobs on real nodes: an agent is pushed, its jobs are started through any node and answer through any other.
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { openWebServer } from "../support/web-server.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const startedSchema = z.object({ job: z.string() });
const eventsSchema = z.object({ events: z.array(z.object({ type: z.string() })) });
const shownSchema = z.object({ owner: z.string() });

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "agents");
});

afterAll(() => fleet.close());

function start(via: string, agent: string, input: unknown): ReturnType<typeof startJob> {
  return startJob(fleet, via, { agent, input });
}

test("a job that is started through one node answers through another", async () => {
  const { job, isNew } = await start("n1", "counting", { steps: 10 });
  expect(isNew).toBe(true);
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "completed", output: { sum: 55 } });
  const { body } = await ask(`${fleet.api("n3")}/v1/jobs/${job}/events`);
  const types = eventsSchema.parse(body).events.map(({ type }) => type);
  expect(types).toEqual(["job.created", "job.claimed", ...Array<string>(10).fill("step.completed"), "job.completed"]);
});

test("a job that sleeps and waits for a signal goes on, and costs no owner meanwhile", async () => {
  const { job } = await start("n1", "waiting", { sleepMs: 6_000 });
  await eventually("it waits without an owner", async () => {
    const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
    return JSON.stringify(body).includes('"timer"') || undefined;
  });
  const told = await ask(`${fleet.api("n3")}/v1/jobs/${job}/signals/go`, { method: "POST", body: { by: "ann" } });
  expect(told.status, JSON.stringify(told.body)).toBeLessThan(300);
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "completed", output: { by: "ann" } });
});

test("what a job emits is followed through any node, also after its owner was killed", async () => {
  const { job } = await start("n1", "telling", {});
  const reader = fleet.run(["--api", fleet.api("n3"), "job", "stream", job, "--json"]);
  const has = (text: string): true | undefined => reader.transcript().includes(text) || undefined;
  const go = async (via: string): Promise<void> => {
    const told = await ask(`${fleet.api(via)}/v1/jobs/${job}/signals/go`, { method: "POST", body: { by: "ann" } });
    expect(told.status, JSON.stringify(told.body)).toBe(202);
  };
  await eventually("the reader follows", () => has('"state"'));
  await go("n2");
  await eventually("progress of the first part arrives", () => has('"part":"first"'));
  const owner = await ownerOf("n2", job);
  // It may be the reader's own node: then that goes on with another one.
  await fleet.kill(owner);
  await go(fleet.names.find((name) => name !== owner) ?? "");
  await eventually("progress of the second part arrives", () => has('"part":"second"'));
  expect((await reader.waitForEnd()).code, reader.transcript()).toBe(0);
  expect(reader.transcript()).toContain('{"event":"end"');
  await fleet.start(owner);
});

/** A payment service: what it was asked to do, and how it behaves. */
interface Outside {
  readonly url: string;
  readonly counts: Map<string, number>;
  /** Effect ids of requests that are held open. */
  readonly held: string[];
  close(): void;
}

/** `acts`: holds every first request, having done what it asks for or not. */
async function openOutside(acts: "before it hangs" | "never at first"): Promise<Outside> {
  const counts = new Map<string, number>();
  const held: string[] = [];
  const server = await openWebServer((request, response) => {
    const [, verb = "", effect = ""] = (request.url ?? "").split("/");
    if (verb === "paid") {
      response.statusCode = counts.has(effect) ? 200 : 404;
      response.end(`receipt of ${effect}`);
      return;
    }
    const isFirst = !held.includes(effect);
    if (!isFirst || acts === "before it hangs") counts.set(effect, (counts.get(effect) ?? 0) + 1);
    if (isFirst) held.push(effect);
    else response.end(`receipt of ${effect}`);
  });
  return { ...server, counts, held };
}

test.each(["before it hangs", "never at first"] as const)(
  "the owner is killed while a payment is under way that acts %s: it is done once", async (acts) => {
    const outside = await openOutside(acts);
    onTestFinished(() => outside.close());
    const { job } = await start("n2", "paying", { url: outside.url });
    await eventually("the payment is under way", () => outside.held[0]);
    const owner = await ownerOf("n2", job);
    await fleet.kill(owner);
    const via = fleet.names.find((name) => name !== owner) ?? "";
    expect(await resultOf(fleet, via, job)).toMatchObject({
      kind: "completed", output: { paid: `receipt of ${outside.held[0]}` },
    });
    expect([...outside.counts]).toEqual([[outside.held[0], 1]]);
    const { body } = await ask(`${fleet.api(via)}/v1/jobs/${job}/events`);
    const types = eventsSchema.parse(body).events.map(({ type }) => type);
    expect(types.filter((type) => type === "step.completed")).toHaveLength(2);
    expect(types).toContain("tool.unknown");
    expect(types).toContain("tool.resolved");
    await fleet.start(owner);
  },
);

async function ownerOf(via: string, job: string): Promise<string> {
  return await eventually("somebody owns the job", async () => {
    const { body } = await ask(`${fleet.api(via)}/v1/jobs/${job}`);
    return shownSchema.safeParse(body).data?.owner;
  });
}

test("a job that waits without an owner is cancelled", async () => {
  const { job } = await start("n1", "waiting", { sleepMs: 60_000 });
  await eventually("it waits without an owner", async () => {
    const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
    return JSON.stringify(body).includes('"timer"') || undefined;
  });
  const told = await ask(`${fleet.api("n3")}/v1/jobs/${job}/cancel`, { method: "POST" });
  expect(told.status, JSON.stringify(told.body)).toBeLessThan(300);
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "cancelled" });
});

test("a job has failed when its longest duration is over, though the whole cluster was down meanwhile", async () => {
  const post = (maxDuration: string): ReturnType<typeof ask> => ask(`${fleet.api("n1")}/v1/jobs`, {
    method: "POST", body: { agent: "waiting", input: { sleepMs: 600_000 }, maxDuration },
  });
  expect(JSON.stringify((await post("2 hours")).body)).toContain("its agent says 1 hour at most");
  const { job } = startedSchema.parse((await post("20 s")).body);
  await eventually("it waits without an owner", async () => {
    const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
    const text = JSON.stringify(body);
    return (text.includes('"timer"') && text.includes('"deadlineMs"')) || undefined;
  });
  await fleet.kill(...fleet.names);
  await fleet.startAll();
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT" } });
  const trace = fleet.run(["--api", fleet.api("n3"), "job", "trace", job]);
  expect((await trace.waitForEnd()).code, trace.transcript()).toBe(0);
  expect(trace.transcript()).toContain("its longest duration is over: asked to end");
  const verify = fleet.run(["--api", fleet.api("n1"), "job", "verify", job]);
  expect((await verify.waitForEnd()).code, verify.transcript()).toBe(0);
});

test("a job whose code does not do what its log says is stuck, says why, and can be cancelled", async () => {
  const { job } = await start("n1", "fickle", {});
  const until = (status: string): Promise<true> => eventually(`it is ${status}`, async () => {
    const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
    return JSON.stringify(body).includes(status) || undefined;
  });
  await until('"signal:go"');
  await ask(`${fleet.api("n3")}/v1/jobs/${job}/signals/go`, { method: "POST", body: { by: "ann" } });
  await until('"stuck"');
  const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
  expect(JSON.stringify(body)).toContain("E_NONDETERMINISM");
  const told = await ask(`${fleet.api("n3")}/v1/jobs/${job}/cancel`, { method: "POST" });
  expect(told.status, JSON.stringify(told.body)).toBeLessThan(300);
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "cancelled" });
});

/** The last one: a node that wakes up sees nobody for a moment. */
test("a command that waits for a job goes on elsewhere when the node it had chosen stands still", async () => {
  const { job } = await start("n2", "waiting", { sleepMs: 1 });
  const api = fleet.names.map((name) => fleet.api(name)).join(",");
  const waiter = fleet.run(["job", "wait", job, "--api", api]);
  await eventually("n1 has told how the job stands", () =>
    waiter.complaints.some((line) => line.startsWith(`job ${job} is`)) || undefined);
  fleet.process("n1").signal("SIGSTOP");
  try {
    await eventually("it looks elsewhere", () =>
      waiter.complaints.includes(`${fleet.api("n1")} does not answer any more: going on elsewhere`) || undefined);
    const told = await ask(`${fleet.api("n3")}/v1/jobs/${job}/signals/go`, { method: "POST", body: { by: "ann" } });
    expect(told.status).toBe(202);
    expect(await waiter.waitForEnd(), waiter.transcript()).toEqual({ code: 0, signal: null });
  } finally {
    fleet.process("n1").signal("SIGCONT");
  }
});
