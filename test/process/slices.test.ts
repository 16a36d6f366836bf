// Slow. Slices on real nodes, from their sources to calls that survive the death of the node they go to.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { connect } from "../../src/client/connect.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { SteadyCalls } from "./support/steady-calls.ts";

const SLICES = fileURLToPath(new URL("./slices/", import.meta.url));
const BACK_MS_MAX = 10_000;
/** An instance that stands still is ended after this long. */
const STALL_MS_MAX = 2_000;

const statusSchema = z.object({
  slices: z.record(
    z.string(),
    z.object({
      want: z.number(),
      active: z.number(),
      instances: z.array(z.object({ node: z.string(), instance: z.number(), state: z.string() })),
    }),
  ),
});
type Instance = z.output<typeof statusSchema>["slices"][string]["instances"][number];
const whereSchema = z.object({ pid: z.number() });

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create({ config: { runtime: { stallMsMax: STALL_MS_MAX } } });
  await fleet.startAll();
  await aether(0, "slice", "push", `${SLICES}probe`);
});

afterAll(() => fleet.close());

describe("artifacts and blueprints", () => {
  test("the same content may be pushed again; other content under the same name is refused", async () => {
    await aether(0, "slice", "push", `${SLICES}probe`);
    const complaint = await aether(1, "slice", "push", `${SLICES}probe-changed`);
    expect(complaint).toMatch(/E_CONFLICT.*test:probe:1\.0\.0/);
  });

  test("a blueprint with an artifact that is not there is refused and says what is", async () => {
    const unknown = await put({ probe: { artifact: "test:probe@^2.0.0" } });
    expect(unknown).toMatchObject({ status: 400, body: { error: { code: "E_INVALID" } } });
    expect(JSON.stringify(unknown.body)).toMatch(/1\.0\.0/);
    const stranger = await put({ probe: { artifact: "test:prob@^1.0.0" } });
    expect(stranger).toMatchObject({ status: 400 });
    expect(JSON.stringify(stranger.body)).toMatch(/test:probe/);
  });
});

describe("a running slice", () => {
  test("is reached from every node, wherever it runs", async () => {
    const [host = ""] = await apply(1);
    for (const name of fleet.names) expect(await whereFrom(name)).toBe(fleet.process(host).pid);
  });

  test("answers bad calls with the stated codes, and one log line each", async () => {
    await apply(1);
    const calls = [
      { method: "nothing", body: {}, status: 404, code: "E_NOT_FOUND" },
      { method: "linger", body: { ms: "soon" }, status: 400, code: "E_INVALID" },
      { method: "linger", body: undefined, status: 400, code: "E_INVALID" },
      { method: "fail", body: { message: "no luck" }, status: 502, code: "E_HANDLER" },
    ];
    for (const name of fleet.names) {
      for (const { method, body, status, code } of calls) {
        const before = fleet.process(name).logged("api.request_refused").length;
        const answer = await ask(`${fleet.api(name)}/v1/call/probe/${method}`, { method: "POST", body });
        expect(answer, `${name} ${method}`).toMatchObject({ status, body: { error: { code } } });
        await eventually("one line", () => {
          expect(fleet.process(name).logged("api.request_refused")).toHaveLength(before + 1);
          return true;
        });
      }
      const late = await ask(`${fleet.api(name)}/v1/call/probe/change`, {
        method: "POST", body: { ms: 5_000 }, headers: { "x-deadline-ms": "200" },
      });
      expect(late).toMatchObject({ status: 504, body: { error: { code: "E_TIMEOUT", outcome: "unknown" } } });
    }
  });

  test("that ends its own worker fails, is loaded again, and its node goes on", async () => {
    const [host = ""] = await apply(1);
    const { pid } = fleet.process(host);
    const crash = await ask(`${fleet.api(host)}/v1/call/probe/exit`, { method: "POST", body: {} });
    expect(crash.status).not.toBe(200);
    expect(crash.body).toMatchObject({ error: { outcome: "unknown" } });
    await eventually("a failure of the instance is logged", () =>
      fleet.process(host).stderr.some((line) => /exit code 7/.test(line)) || undefined);
    await eventually("it answers again", async () => (await whereFrom("n1")) > 0 || undefined);
    expect(fleet.process(host)).toMatchObject({ isRunning: true, pid });
  });

  test("that never comes back from a call is ended and loaded again; its node serves meanwhile", async () => {
    const [host = ""] = await apply(1);
    const spin = await ask(`${fleet.api(host)}/v1/call/probe/spin`, {
      method: "POST", body: {}, headers: { "x-deadline-ms": "500" },
    });
    expect(spin).toMatchObject({ status: 504, body: { error: { outcome: "unknown" } } });
    expect(await ask(`${fleet.api(host)}/v1/kv/data/a`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
    await eventually("it answers again", async () => (await whereFrom("n1")) > 0 || undefined);
    expect(fleet.process(host).isRunning).toBe(true);
  });
});

describe("when the node of an instance is killed", () => {
  test("no read call fails, the instance is back elsewhere within 10 s, and the node takes part again", async () => {
    const before = await apply(2);
    const [victim = ""] = before;
    const survivors = fleet.names.filter((name) => name !== victim);
    const calls = reads(survivors, "linger", { ms: 2 });
    await calls.progress(100);
    const killedAtMs = Date.now();
    await fleet.kill(victim);
    await calls.progress(100);
    await eventually("two instances are active without the victim", async () => {
      const instances = await instancesBy(survivors[0] ?? "");
      const active = instances.filter(({ state, node }) => state === "ACTIVE" && node !== victim);
      return active.length === 2 && instances.length === 2 ? true : undefined;
    });
    const backMs = Date.now() - killedAtMs;
    process.stdout.write(`kill -9 of an instance's node: back elsewhere after ${backMs} ms\n`);
    expect(backMs).toBeLessThan(BACK_MS_MAX);
    await fleet.start(victim);
    await calls.progress(100);
    await calls.stop();
    expect(calls.failures).toEqual([]);
    expect([...(await apply(3))].sort()).toEqual(fleet.names);
    await eventually("the returned node answers from its own instance", async () =>
      (await whereFrom(victim)) === fleet.process(victim).pid || undefined);
  });

  test("a read under way there is answered by another one, a write says that its outcome is unknown", async () => {
    const hosts = await apply(2);
    const [victim = ""] = hosts;
    const caller = fleet.names.find((name) => !hosts.includes(name)) ?? "";
    const client = connect({ nodes: [fleet.api(caller)] });
    onTestFinished(() => client.close());
    const input = { ms: 1_500 };
    const started = Date.now();
    const tenTimes = (method: string, effect: "read" | "write"): readonly Promise<unknown>[] =>
      Array.from({ length: 10 }, () => client.call({ slice: "probe", method, input, effect }));
    const [reads, writes] = [tenTimes("linger", "read"), tenTimes("change", "write")];
    const settled = Promise.all([Promise.allSettled(reads), Promise.allSettled(writes)]);
    await eventually("the calls are under way", () => Date.now() - started > 500 || undefined);
    await fleet.kill(victim);
    const [readEnds, writeEnds] = await settled;
    expect(readEnds.filter(({ status }) => status === "rejected")).toEqual([]);
    const failed = writeEnds.filter((end) => end.status === "rejected");
    expect(failed.length).toBeGreaterThan(0);
    for (const end of failed) expect(end.reason).toMatchObject({ code: "E_TIMEOUT", outcome: "unknown" });
    await fleet.start(victim);
  });
});

test("after a restart of all nodes the instances run again", async () => {
  await apply(3);
  await fleet.kill(...fleet.names);
  await fleet.startAll();
  await eventually("three instances are active", async () =>
    (await instancesBy("n1")).filter(({ state }) => state === "ACTIVE").length === 3 || undefined);
  for (const name of fleet.names) {
    await eventually("it answers", async () => (await whereFrom(name)) > 0 || undefined);
  }
});

test("a deleted blueprint leaves nothing behind, and its slice cannot be called", async () => {
  await apply(2);
  expect(await ask(`${fleet.api("n2")}/v1/blueprints/probe`, { method: "DELETE" })).toMatchObject({ status: 200 });
  await eventually("no rows and no endpoints are left", async () => {
    for (const prefix of ["slices/", "endpoints/"]) {
      expect((await ask(`${fleet.api("n1")}/v1/kv?prefix=${prefix}`)).body).toMatchObject({ entries: [] });
    }
    return true;
  });
  for (const name of fleet.names) {
    const call = await ask(`${fleet.api(name)}/v1/call/probe/where`, {
      method: "POST", body: {}, headers: { "x-deadline-ms": "500" },
    });
    expect([404, 503]).toContain(call.status);
  }
  expect(await ask(`${fleet.api("n1")}/v1/blueprints/probe/status`)).toMatchObject({ status: 404 });
});

test("a rollback brings back the version that answered before, and no call fails meanwhile", async () => {
  await apply(2);
  const isFromANode = async (): Promise<boolean> => {
    const pids = fleet.names.map((name) => fleet.process(name).pid);
    return (await Promise.all(fleet.names.map(whereFrom))).every((pid) => pids.includes(pid));
  };
  expect(await isFromANode()).toBe(true);
  const calls = reads(fleet.names, "where", {});
  await calls.progress(100);
  await aether(0, "slice", "push", `${SLICES}probe-next`);
  expect(await put({ probe: { artifact: "test:probe@^1.1.0", instances: 2 } })).toMatchObject({ status: 200 });
  await eventually("the next version alone answers", async () => {
    const [found] = Object.values(await slicesBy("n2"));
    return (found?.active === 2 && found.instances.length === 2) || undefined;
  });
  for (const name of fleet.names) expect(await whereFrom(name)).toBe(0);
  const told = await aether(0, "blueprint", "rollback", "probe", "--wait");
  expect(told).toMatch(/test:probe:1\.0\.0\/\d on n\d: ACTIVE/);
  await eventually("the version before alone answers", async () => (await isFromANode()) || undefined);
  await calls.progress(100);
  await calls.stop();
  expect(calls.failures).toEqual([]);
  expect(await aether(1, "blueprint", "rollback", "probe", "--to", "999")).toMatch(/E_NOT_FOUND.*no revision 999/);
});

/** Callers that read, one on each of the nodes. */
function reads(names: readonly string[], method: string, input: unknown): SteadyCalls {
  return new SteadyCalls(names.map((name) => fleet.api(name)), async (client) => {
    await client.call({ slice: "probe", method, input, effect: "read" });
  });
}

/** Applies the blueprint with so many instances and gives the nodes that run them, once all and only those do. */
async function apply(instances: number): Promise<readonly string[]> {
  expect(await put({ probe: { artifact: "test:probe@^1.0.0", instances } })).toMatchObject({ status: 200 });
  return eventually(`${instances} instances are active and answer`, async () => {
    const found = await instancesBy("n1");
    const active = found.filter(({ state }) => state === "ACTIVE").map(({ node }) => node);
    if (active.length !== instances || found.length !== instances) return undefined;
    for (const name of instances === 0 ? [] : fleet.names) await whereFrom(name);
    return active;
  });
}

async function put(slices: unknown): ReturnType<typeof ask> {
  return ask(`${fleet.api("n1")}/v1/blueprints/probe`, { method: "PUT", body: { slices } });
}

async function instancesBy(name: string): Promise<readonly Instance[]> {
  return Object.values(await slicesBy(name)).flatMap((slice) => slice.instances);
}

async function slicesBy(name: string): Promise<z.output<typeof statusSchema>["slices"]> {
  const { body } = await ask(`${fleet.api(name)}/v1/blueprints/probe/status`);
  return statusSchema.parse(body).slices;
}

/** The process that answers a call made on this node. */
async function whereFrom(name: string): Promise<number> {
  const { body } = await ask(`${fleet.api(name)}/v1/call/probe/where`, { method: "POST", body: {} });
  return whereSchema.parse(body).pid;
}

/** Runs a command that must end with this exit code, and gives what it complained about. */
async function aether(exitCode: number, ...args: readonly string[]): Promise<string> {
  const command = fleet.run(["--api", fleet.api("n1"), ...args]);
  const { code } = await command.waitForEnd();
  expect(code, command.transcript()).toBe(exitCode);
  return command.complaints.join("\n");
}
