// Slow. Another version of the code of jobs that live, on real nodes: whether it does what a log says, through every
// door, and jobs that their own code cannot go on with.
import { createServer, type Server } from "node:http";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { connect } from "../../src/client/connect.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applyAgents, startJob } from "./support/fleet-jobs.ts";

const FIXED = "test:moving@1.1.0";
const BROKEN = "test:moving@1.2.0";

/** Counts what it is asked for per effect, and has a flag that changes. */
interface World {
  readonly server: Server;
  readonly url: string;
  readonly calls: Map<string, number>;
  flag: "on" | "off";
}

let fleet: NodeFleet;
let world: World;

beforeAll(async () => {
  world = await openWorld();
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "moving");
  for (const name of ["moving-fixed", "moving-broken"]) {
    await fleet.command("n2", "slice", "push", fileURLToPath(new URL(`./slices/${name}`, import.meta.url)));
  }
});

afterAll(async () => {
  await fleet.close();
  world.server.close();
});

async function openWorld(): Promise<World> {
  const calls = new Map<string, number>();
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    if (path === "/flag") return void response.end(world.flag);
    calls.set(path, (calls.get(path) ?? 0) + 1);
    response.end("receipt");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { server, url: `http://127.0.0.1:${port}`, calls, flag: "on" };
}

const shownSchema = z.object({
  status: z.string(), waiting: z.object({ reason: z.string(), why: z.string().optional() }).optional(),
});

async function waitingFor(job: string, reason: string): Promise<z.output<typeof shownSchema>> {
  return await eventually(`job ${job} waits: ${reason}`, async () => {
    for (const node of ["n2", "n1", "n3"]) {
      try {
        const shown = shownSchema.parse((await ask(`${fleet.api(node)}/v1/jobs/${job}`)).body);
        return shown.waiting?.reason === reason ? shown : undefined;
      } catch {
        // ignored: this node is dead, another one is asked.
      }
    }
    return undefined;
  });
}

async function startMoving(job: string): Promise<void> {
  await startJob(fleet, "n1", { agent: "moving", input: { url: world.url }, id: job });
  await waitingFor(job, "signal");
}

test("a version that does what the log says is the same, through every door, and calls nothing", async () => {
  await startMoving("same-1");
  const before = new Map(world.calls);
  const answer = await ask(`${fleet.api("n3")}/v1/jobs/same-1/replay`, { method: "POST", body: { artifact: FIXED } });
  expect(answer).toMatchObject({
    status: 200, body: { kind: "same", artifact: "test:moving:1.1.0", next: 'waits for "go#1"' },
  });
  const client = connect({ nodes: [fleet.api("n2")] });
  expect(await client.job("same-1").replay("test:moving:1.1.0")).toMatchObject({ kind: "same" });
  client.close();
  const printed = await fleet.command("n1", "job", "replay", "same-1", "--artifact", FIXED);
  expect(printed.transcript()).toContain("does what the log of job same-1 says");
  expect(world.calls).toEqual(before);
});

test("a version that does something else is told with the event and both digests", async () => {
  const run = fleet.run(["--api", fleet.api("n1"), "job", "replay", "same-1", "--artifact", BROKEN]);
  expect((await run.waitForEnd()).code).toBe(1);
  expect(run.transcript()).toMatch(/from event \d+ on[^]*the tool charge[^]*called it with another input[^]*digests/);
  expect([...world.calls.values()]).toEqual([1]);
});

test("a version that is not there, of another package or of no form is refused", async () => {
  for (const [artifact, code] of [
    ["test:moving@9.9.9", "E_NOT_FOUND"], ["test:other@1.0.0", "E_INVALID"], ["moving", "E_INVALID"],
  ] as const) {
    const { body } = await ask(`${fleet.api("n1")}/v1/jobs/same-1/replay`, { method: "POST", body: { artifact } });
    expect(body).toMatchObject({ error: { code } });
  }
  const { body } = await ask(`${fleet.api("n1")}/v1/jobs/none-1/replay`, { method: "POST", body: { artifact: FIXED } });
  expect(body).toMatchObject({ error: { code: "E_NOT_FOUND" } });
});

test("jobs that their own code cannot go on with go on with a fixed version, while nodes are killed", async () => {
  const jobs = ["stuck-1", "stuck-2", "stuck-3"];
  for (const job of jobs) await startMoving(job);
  world.flag = "off";
  for (const job of jobs) await fleet.command("n2", "job", "signal", job, "go", '{"by": "ann", "why": "it is due"}');
  for (const job of jobs) expect((await waitingFor(job, "stuck")).waiting?.why).toContain("E_NONDETERMINISM");
  const refused = fleet.run(["--api", fleet.api("n3"), "job", "move", "stuck-1", "--artifact", BROKEN]);
  expect((await refused.waitForEnd()).code).toBe(1);
  expect(refused.transcript()).toContain("called it with another input");

  await fleet.kill("n1");
  for (const job of jobs.slice(0, 2)) {
    const moved = await fleet.command("n2", "job", "move", job, "--artifact", FIXED);
    expect(moved.transcript()).toContain(`job ${job} goes on with test:moving:1.1.0`);
  }
  await fleet.start("n1");
  await fleet.kill("n2");
  const client = connect({ nodes: [fleet.api("n3"), fleet.api("n1")] });
  expect(await client.job("stuck-3").move(FIXED)).toMatchObject({ kind: "moved" });
  const output = { receipt: "receipt", by: "ann", version: "1.1.0" };
  for (const job of jobs) expect(await client.job(job).outcome()).toEqual({ kind: "completed", output });
  client.close();
  await fleet.start("n2");
  expect(Math.max(...world.calls.values()), "no call was made twice").toBe(1);
  for (const job of jobs) {
    expect((await fleet.command("n2", "job", "verify", job)).transcript()).toContain(`job ${job} is whole`);
    const trace = (await fleet.command("n3", "job", "trace", job)).transcript();
    expect(trace).toContain("moved from test:moving:1.0.0 to test:moving:1.1.0 by anonymous");
  }
  expect((await fleet.command("n1", "job", "show", "stuck-1")).transcript()).toContain("moving of test:moving:1.1.0");
});

test("what a job is told is checked by the version that it runs now", async () => {
  world.flag = "on";
  await startMoving("told-1");
  const tell = (payload: object): ReturnType<typeof ask> =>
    ask(`${fleet.api("n1")}/v1/jobs/told-1/signals/go`, { method: "POST", body: payload });
  await fleet.command("n3", "job", "move", "told-1", "--artifact", FIXED);
  await waitingFor("told-1", "signal");
  expect(await tell({ by: "ann" })).toMatchObject({ status: 400, body: { error: { code: "E_INVALID" } } });
  expect(await tell({ by: "ann", why: "it is due" })).toMatchObject({ status: 202 });
  const again = await fleet.command("n2", "job", "show", "told-1");
  expect(again.transcript()).toContain("test:moving:1.1.0");
  const ended = await eventually("job told-1 has ended", async () => {
    const { status, body } = await ask(`${fleet.api("n1")}/v1/jobs/told-1/result?waitMs=5000`);
    return status === 200 ? body : undefined;
  });
  expect(ended).toMatchObject({ result: { kind: "completed", output: { version: "1.1.0" } } });
  expect(await ask(`${fleet.api("n1")}/v1/jobs/told-1/move`, { method: "POST", body: { artifact: FIXED } }))
    .toMatchObject({ status: 409, body: { error: { code: "E_CONFLICT" } } });
});
