// Slow. Jobs that start jobs, on real nodes: the node of the parent or that of the child is killed while both are in
// the middle of something, and what the child does outside is done once.
import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { openWebServer } from "../support/web-server.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const childSchema = z.object({ job: z.string(), agent: z.string(), status: z.string() });
const shownSchema = z.object({
  status: z.string(),
  owner: z.string().optional(),
  parent: z.string().optional(),
  waiting: z.object({ reason: z.string() }).optional(),
  children: z.array(childSchema),
});

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "families", { instances: 1 });
});

afterAll(() => fleet.close());

/** The world outside: holds steps until it lets them go, and counts what was to be counted. */
interface Outside {
  readonly url: string;
  /** `parent/ID`, `child/ID`: whoever asked, in order. */
  readonly asked: string[];
  readonly counted: string[];
  letGo(): void;
}

async function openOutside(): Promise<Outside> {
  const [asked, counted, held]: [string[], string[], ServerResponse[]] = [[], [], []];
  let isOpen = false;
  const server = await openWebServer((request, response) => {
    const path = (request.url ?? "/").slice(1);
    if (path.startsWith("asked/")) {
      const effect = path.split("/").at(-1) ?? "";
      response.statusCode = counted.includes(effect) ? 200 : 404;
      response.end(effect);
    } else if (path.startsWith("count/")) {
      const effect = path.slice("count/".length);
      counted.push(effect);
      response.end(effect);
    } else {
      asked.push(path);
      if (isOpen) response.end("go");
      else held.push(response);
    }
  });
  onTestFinished(() => server.close());
  const letGo = (): void => {
    isOpen = true;
    for (const response of held) response.end("go");
  };
  return { url: server.url, asked, counted, letGo };
}

async function start(agent: string, input: unknown): Promise<string> {
  const { job, isNew } = await startJob(fleet, "n1", { agent, input });
  expect(isNew).toBe(true);
  return job;
}

async function shown(via: string, job: string): Promise<z.output<typeof shownSchema>> {
  return shownSchema.parse((await ask(`${fleet.api(via)}/v1/jobs/${job}`)).body);
}

async function childOf(via: string, job: string): Promise<string> {
  return await eventually("the child is started", async () => (await shown(via, job)).children[0]?.job);
}

async function ownerOf(via: string, job: string): Promise<string> {
  return await eventually("somebody owns the job", async () => (await shown(via, job)).owner);
}

test.each(["parent", "child"] as const)(
  "the node of the %s is killed: the child runs once, and its end is told once (JOB14)",
  async (victim) => {
    const outside = await openOutside();
    const job = await start("parent", { url: outside.url });
    const child = await childOf("n1", job);
    await eventually("both are in the middle of something", () =>
      (outside.asked.includes(`parent/${job}`) && outside.asked.includes(`child/${child}`)) || undefined);
    const owner = await ownerOf("n1", victim === "parent" ? job : child);
    await fleet.kill(owner);
    const via = fleet.names.find((name) => name !== owner) ?? "";
    outside.letGo();
    const output = { counted: outside.counted[0], note: "none", held: "go" };
    const result = await resultOf(fleet, via, job);
    expect(outside.counted).toHaveLength(1);
    expect(result).toEqual({ kind: "completed", output: { ...output, counted: outside.counted[0] } });
    expect((await shown(via, job)).children).toEqual([{ job: child, agent: "worker", status: "completed" }]);
    expect((await shown(via, child)).parent).toBe(job);
    await fleet.start(owner);
  });

test("a parent that only waits costs no owner, and hears of a child that fails", async () => {
  const outside = await openOutside();
  const job = await start("patient", { url: outside.url, agent: "worker", fails: true, isDetached: false });
  await eventually("it waits without an owner", async () =>
    (await shown("n2", job)).waiting?.reason === "child" || undefined);
  outside.letGo();
  expect(await resultOf(fleet, "n3", job)).toEqual({ kind: "completed", output: { code: "E_LUCK", status: "failed" } });
  const trace = fleet.run(["--api", fleet.api("n2"), "job", "trace", job]);
  expect((await trace.waitForEnd()).code).toBe(0);
  expect(trace.transcript()).toMatch(/child the child#1 of worker started as \w+/);
  expect(trace.transcript()).toMatch(/child the child#1 failed: E_LUCK: the child job \w+ of the agent "worker" failed/);
});

test("an agent that nobody has is an error in the parent's code", async () => {
  const job = await start("patient", { url: "", agent: "nobody", fails: false, isDetached: false });
  expect(await resultOf(fleet, "n3", job)).toMatchObject({ kind: "completed", output: { code: "E_NOT_FOUND" } });
  expect((await shown("n2", job)).children).toEqual([]);
});

test("an input that the child's agent does not take is an error in the parent's code", async () => {
  const job = await start("patient", { url: "", agent: "patient", fails: false, isDetached: false });
  const refused = expect.stringContaining("at agent: it is required and not there") as unknown;
  expect(await resultOf(fleet, "n3", job)).toMatchObject({ kind: "completed", output: { code: "E_INVALID", refused } });
  expect((await shown("n2", job)).children).toEqual([]);
});

test("a child is cancelled with its parent, and one that is detached is not", async () => {
  const outside = await openOutside();
  const waits = await start("patient", { url: outside.url, agent: "worker", fails: false, isDetached: false });
  const leaves = await start("patient", { url: outside.url, agent: "worker", fails: false, isDetached: true });
  const [attached, detached] = [await childOf("n2", waits), await childOf("n2", leaves)];
  expect(await resultOf(fleet, "n3", leaves)).toEqual({ kind: "completed", output: { id: detached } });
  await eventually("both children hold", () =>
    [attached, detached].every((child) => outside.asked.includes(`child/${child}`)) || undefined);
  await ask(`${fleet.api("n2")}/v1/jobs/${waits}/cancel`, { method: "POST" });
  expect(await resultOf(fleet, "n1", waits)).toEqual({ kind: "cancelled" });
  expect(await resultOf(fleet, "n1", attached)).toEqual({ kind: "cancelled" });
  outside.letGo();
  expect(await resultOf(fleet, "n2", detached)).toMatchObject({ kind: "completed" });
  expect(outside.counted).toHaveLength(1);
});

test("a handler starts one job for each call with a key, on whatever node it runs", async () => {
  const outside = await openOutside();
  outside.letGo();
  const hire = async (via: string): Promise<string> => await eventually("the slice serves", async () => {
    const { status, body } = await ask(`${fleet.api(via)}/v1/call/families/hire`, {
      method: "POST", body: { url: outside.url }, headers: { "idempotency-key": "hire-1" },
    });
    return status === 200 ? z.object({ id: z.string() }).parse(body).id : undefined;
  });
  const [first, again] = [await hire("n1"), await hire("n2")];
  expect(again).toBe(first);
  const result = await resultOf(fleet, "n3", first);
  expect(result).toEqual({ kind: "completed", output: { counted: outside.counted[0], note: "none" } });
  expect(outside.counted).toHaveLength(1);
});
