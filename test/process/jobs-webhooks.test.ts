// Slow. Webhooks on real nodes: a receiver that fails at first and then answers hears of every event, signed, although
// the nodes are killed in between; one that hangs holds up nobody, and what it was not told is on the job.
import { createHmac } from "node:crypto";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { openWebServer } from "../support/web-server.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const KEY = "a key of eighteen characters";
const TOLD_MS_MAX = 60_000;
const noticeSchema = z.object({ event: z.string(), job: z.string(), call: z.string().optional() });
const leaderOf = z.object({ leader: z.object({ node: z.string() }) });

interface Received extends z.output<typeof noticeSchema> {
  readonly key: string;
}

test("what happens to jobs is told at least once, whichever nodes die", async () => {
  const told: Received[] = [];
  let failures = 2;
  let hung = 0;
  const receiver = await openWebServer((request, response) => {
    if (request.url === "/hang") return void (hung += 1);
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text)).on("end", () => {
      const { "idempotency-key": key, "aether-signature": signature } = request.headers;
      const [, seconds = "", hex] = /^t=(\d+),v1=(.*)$/.exec(String(signature)) ?? [];
      const isOurs = hex === createHmac("sha256", KEY).update(`${seconds}.${body}`).digest("hex");
      response.statusCode = isOurs && failures-- <= 0 ? 200 : 500;
      response.end();
      if (response.statusCode === 200) told.push({ ...noticeSchema.parse(JSON.parse(body)), key: String(key) });
    });
  });
  onTestFinished(() => receiver.close());
  const url = (path: string): string => `${receiver.url}/${path}`;
  const fleet = await NodeFleet.open({
    config: {
      secrets: { "hook-key": { variable: "HOOK_KEY" } },
      jobs: {
        webhooks: [
          { name: "hanging", url: url("hang"), events: ["approval"], secret: "hook-key" },
          { name: "desk", url: url("desk"), secret: "hook-key" },
        ],
      },
    },
    launchOf: () => ({ variables: { HOOK_KEY: KEY } }),
  });
  await fleet.startAll();
  await applyAgents(fleet, "approving");
  const jobs = Array.from({ length: 6 }, (_, at) => `asking-${at}`);
  for (const id of jobs) await startJob(fleet, "n1", { agent: "approving", id, input: { cents: 5 } });
  await eventually("all of them ask", async () => {
    const { body } = await ask(`${fleet.api("n1")}/v1/approvals`);
    return z.object({ approvals: z.array(z.unknown()) }).parse(body).approvals.length === jobs.length || undefined;
  });
  // Some are being told, some not yet.
  const { leader } = leaderOf.parse((await ask(`${fleet.api("n1")}/v1/cluster`)).body);
  await fleet.kill(leader.node);
  const via = fleet.names.find((name) => name !== leader.node) ?? "";
  const heard = (event: string): readonly string[] =>
    [...new Set(told.filter((one) => one.event === event).map(({ job }) => job))].sort();
  const allHeard = async (event: string): Promise<true | undefined> => heard(event).length === jobs.length || undefined;
  await eventually("every question is told", () => allHeard("approval"), TOLD_MS_MAX);
  for (const id of jobs) {
    const path = `${fleet.api(via)}/v1/jobs/${id}/approvals/manager`;
    expect(await ask(path, { method: "POST", body: { approved: true } })).toMatchObject({ status: 202 });
  }
  for (const id of jobs) await resultOf(fleet, via, id, TOLD_MS_MAX);
  await fleet.start(leader.node);
  await eventually("every end is told", () => allHeard("ended"), TOLD_MS_MAX);
  expect(heard("approval")).toEqual(jobs);
  expect(heard("ended")).toEqual(jobs);
  // The same event has the same key, and no two events have one.
  expect(new Set(told.map(({ key }) => key)).size).toBe(2 * jobs.length);
  expect(told.find(({ event }) => event === "approval")?.call).toBe("manager#1");
  expect(hung).toBeGreaterThan(0);
});
