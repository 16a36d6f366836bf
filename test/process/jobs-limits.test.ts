// Slow. Limits of the whole cluster on real nodes: how many jobs run at once, and how many calls are made per second.
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { z } from "zod";
import { ask, NodeFleet } from "../support/node-fleet.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const NODES = ["n1", "n2", "n3"] as const;
const endSchema = z.object({ kind: z.string() });
const shownSchema = z.object({ status: z.string(), pending: z.string().optional() });

let fleet: NodeFleet;
let server: Server;
let url = "";
const searchedMs: number[] = [];
let entered = 0;
let mostEntered = 0;
/** Calls that the server has not answered. */
let crowded = 0;
let mostCrowded = 0;
let answered = 0;

beforeAll(async () => {
  server = createServer((request, response) => {
    if (request.url === "/searched") searchedMs.push(performance.now());
    if (request.url === "/entered") mostEntered = Math.max(mostEntered, ++entered);
    if (request.url === "/left") entered -= 1;
    if (request.url === "/crowded") {
      mostCrowded = Math.max(mostCrowded, ++crowded);
      response.once("close", () => {
        crowded -= 1;
        if (response.writableFinished) answered += 1;
      });
    }
    // Long enough for others to come in, if they may.
    setTimeout(() => response.end("done"), 50);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "limited");
});

afterAll(async () => {
  await fleet.close();
  server.close();
});

async function start(at: number, body: Readonly<Record<string, unknown>>): Promise<string> {
  const via = NODES[at % NODES.length] ?? "n1";
  const { job, isNew } = await startJob(fleet, via, body);
  expect(isNew).toBe(true);
  return job;
}

async function end(job: string): Promise<string> {
  return endSchema.parse(await resultOf(fleet, "n2", job, 60_000)).kind;
}

test("no more jobs of an agent run at once than it says, whichever nodes start and run them", async () => {
  const jobs = await Promise.all(Array.from({ length: 12 }, (_, at) => start(at, { agent: "lonely", input: { url } })));
  const ends = await Promise.all(jobs.map(end));
  expect(ends).toEqual(Array(12).fill("completed"));
  expect([mostEntered, entered]).toEqual([2, 0]);
});

test("a job that no node can run says why", async () => {
  const job = await start(0, { agent: "lonely", input: { url }, labels: { gpu: "yes" } });
  const { body } = await ask(`${fleet.api("n3")}/v1/jobs/${job}`);
  expect(shownSchema.parse(body)).toEqual({ status: "pending", pending: "no node on duty has the labels gpu=yes" });
  const shown = fleet.run(["--api", fleet.api("n2"), "job", "show", job]);
  expect((await shown.waitForEnd()).code).toBe(0);
  expect(shown.transcript()).toContain("pending: no node on duty has the labels gpu=yes");
});

test("calls of a tool with a rate are made at that rate by all nodes together", async () => {
  const jobs = await Promise.all(Array.from({ length: 15 }, (_, at) =>
    start(at, { agent: "searching", input: { url, calls: 3 } })));
  await Promise.all(jobs.map(end));
  expect(searchedMs).toHaveLength(45);
  const seconds = ((searchedMs.at(-1) ?? 0) - (searchedMs[0] ?? 0)) / 1_000;
  // What is asserted of times is asserted where time is the test's own: scenario/jobs-rates.
  process.stdout.write(`rate of 10 per second on three nodes: ${(44 / seconds).toFixed(2)} per second\n`);
});

test("no more calls of a tool are under way than it says, also when a node with some of them is killed", async () => {
  const jobs = await Promise.all(Array.from({ length: 9 }, (_, at) =>
    start(at, { agent: "crowding", input: { url, calls: 4 } })));
  await vi.waitUntil(() => answered >= 6, { timeout: 30_000, interval: 5 });
  await fleet.kill("n3");
  await fleet.start("n3");
  expect(await Promise.all(jobs.map(end))).toEqual(Array(9).fill("completed"));
  expect(answered).toBeGreaterThanOrEqual(36);
  expect([mostCrowded, crowded]).toEqual([2, 0]);
});
