// How slices are scaled, as people say it over HTTP and on the command line: over a real server and real rows.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { parseNodeId } from "../../../src/base/ids.ts";
import { Histogram } from "../../../src/base/histogram.ts";
import { runCli } from "../../../src/cli/program.ts";
import { ArtifactRepository } from "../../../src/slices/artifacts/repository.ts";
import { BlueprintStore } from "../../../src/slices/blueprints/blueprint-store.ts";
import { openApi, type ApiFixture } from "../api/api-fixture.ts";
import { sampleArchive } from "../slices-build/sample-artifacts.ts";

const RULES = "rules:\n  - { name: up, slice: orders, when: queued > 5, do: { add: 1 } }\n";
const n1 = parseNodeId("n1");

let api: ApiFixture;
let directory: string;

beforeEach(async () => {
  api = await openApi();
  directory = await mkdtemp(join(tmpdir(), "aether-control-"));
  await writeFile(join(directory, "rules.yaml"), RULES);
  const { kv } = api.local;
  const artifacts = new ArtifactRepository({ kv, clock: { wallMs: () => 1_700_000_000_000 } });
  for (const name of ["orders", "stock"]) await artifacts.push(sampleArchive({ artifact: `demo:${name}:1.0.0` }));
  await new BlueprintStore({ kv, artifacts }).apply("shop", {
    slices: {
      orders: { artifact: "demo:orders:1.0.0", instances: 2 }, stock: { artifact: "demo:stock:1.0.0", instances: 0 },
    },
  });
  await vi.waitFor(async () => expect((await send("GET", ""))[1]).toMatchObject({ slices: [{}, {}] }));
});

afterEach(async () => {
  await api.close();
  await rm(directory, { recursive: true, force: true });
});

async function send(method: string, path: string, body?: string): Promise<readonly [number, unknown]> {
  const response = await fetch(`${api.url}/v1/control${path}`, { method, ...(body === undefined ? {} : { body }) });
  return [response.status, await response.json()];
}

/** Status and code of a refusal. */
async function refusal(method: string, path: string, body?: string): Promise<readonly [number, string]> {
  const [status, answer] = await send(method, path, body);
  const { error } = z.object({ error: z.object({ code: z.string(), message: z.string().min(1) }) }).parse(answer);
  return [status, error.code];
}

interface Run {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

async function aether(...args: readonly string[]): Promise<Run> {
  const [out, err]: [string[], string[]] = [[], []];
  const exitCode = await runCli([...args, "--api", api.url], {
    env: {}, cwd: directory, print: (text) => out.push(text), report: (text) => err.push(text),
    readInput: () => Promise.resolve(""), nowMs: () => 0, wallMs: () => 0, sleep: () => Promise.resolve(),
    onInterrupt: () => () => undefined, exitNow: () => undefined,
  });
  return { exitCode, out: out.join("\n"), err: err.join("\n") };
}

/** Until this node has read what was written. */
async function untilSaid(what: string, ...args: readonly string[]): Promise<void> {
  await vi.waitFor(async () => expect((await aether(...args)).out).toContain(what));
}

function refusedWith(exitCode: number, text: string): object {
  return { exitCode, out: "", err: expect.stringContaining(text) as string };
}

describe("rules", () => {
  test("are applied, shown as they were written, and removed", async () => {
    expect(await aether("control", "show")).toMatchObject(refusedWith(1, "E_NOT_FOUND"));
    expect((await aether("control", "apply", "rules.yaml")).out).toBe("1 rules apply from now on");
    await untilSaid("name: up", "control", "show");
    expect((await aether("control", "show")).out).toBe(RULES.trimEnd());
    expect(JSON.parse((await aether("control", "show", "--json")).out)).toMatchObject({ text: RULES, by: "anonymous" });
    await untilSaid("1 rules since", "control", "status");
    expect((await aether("control", "remove", "--json")).out).toBe('{"rules":0}');
    await untilSaid("no rules", "control", "status");
  });

  test("with a mistake are refused with its place, and those before stay", async () => {
    await aether("control", "apply", "rules.yaml");
    await writeFile(join(directory, "bad.yaml"), RULES.replace("queued", "queue"));
    const refused = await aether("control", "apply", "bad.yaml");
    expect(refused.exitCode).toBe(1);
    expect(refused.err).toMatch(/E_INVALID.*line 2/);
    await untilSaid("queued > 5", "control", "show");
    expect(await aether("control", "apply", "none.yaml")).toMatchObject(refusedWith(2, "none.yaml"));
    expect(await refusal("PUT", "/rules", "rules: 5")).toEqual([400, "E_INVALID"]);
    expect(await refusal("PUT", "/rules", `# ${"x".repeat(65_536)}`)).toEqual([413, "E_TOO_LARGE"]);
  });
});

describe("a person's word", () => {
  test("stops everything until it is taken back, with the reason", async () => {
    expect((await aether("control", "pause", "--reason", "a load test")).exitCode).toBe(0);
    await untilSaid("PAUSED by anonymous", "control", "status");
    expect((await aether("control", "status")).out).toContain(": a load test");
    const { out } = await aether("control", "status", "--json");
    expect(JSON.parse(out)).toMatchObject({ paused: { reason: "a load test" } });
    expect(JSON.parse((await aether("control", "resume", "--json")).out)).toEqual({ paused: false });
    await vi.waitFor(async () => expect((await aether("control", "status")).out).not.toContain("PAUSED"));
    expect(await refusal("POST", "/pause", '{"by": "me"}')).toEqual([400, "E_INVALID"]);
    expect(await refusal("POST", "/pause", "{")).toEqual([400, "E_INVALID"]);
  });

  test("keeps a slice as it is, or at a number, until it is taken back", async () => {
    expect((await aether("control", "pin", "orders")).out).toContain("orders stays as it is until");
    await untilSaid("orders", "control", "status");
    expect((await aether("control", "pin", "orders", "5", "--reason", "sale")).out).toContain("at 5 instances");
    await untilSaid("0/5", "control", "status");
    const orders = { slice: "orders", base: 2, instances: 5, pinnedBy: "anonymous (sale)" };
    expect((await send("GET", ""))[1]).toMatchObject({ slices: [orders, {}] });
    expect((await aether("control", "unpin", "orders", "--json")).out).toBe('{"slice":"orders","pinned":false}');
    await vi.waitFor(async () =>
      expect(JSON.parse((await aether("control", "status", "--json")).out).slices[0]).not.toHaveProperty("pinnedBy"));
  });

  test.each([
    ["a slice that no blueprint has", "nobody", '{"instances": 2}', 404, "E_NOT_FOUND"],
    ["one that is switched off", "stock", '{"instances": 2}', 400, "E_INVALID"],
    ["more than there may be", "orders", '{"instances": 1001}', 400, "E_INVALID"],
    ["no whole number", "orders", '{"instances": 1.5}', 400, "E_INVALID"],
    ["none at all", "orders", '{"instances": 0}', 400, "E_INVALID"],
    ["what is no number", "orders", '{"instances": "2"}', 400, "E_INVALID"],
  ])("is refused for %s", async (_what, slice, body, status, code) => {
    expect(await refusal("PUT", `/pins/${slice}`, body)).toEqual([status, code]);
  });

  test("on the command line is one line with the code, or how it is said", async () => {
    expect(await aether("control", "pin", "nobody")).toMatchObject(refusedWith(1, "E_NOT_FOUND"));
    expect((await aether("control", "pin", "orders", "many")).exitCode).toBe(2);
    expect((await aether("control", "pin")).exitCode).toBe(2);
  });
});

describe("a recorded load", () => {
  const record = async (...args: readonly string[]): Promise<void> => {
    const { out } = await aether("control", "record", ...args);
    await writeFile(join(directory, "load.json"), out);
  };

  test("is what the node remembers, and is played through its rules", async () => {
    api.metrics.keep({
      leader: n1, epoch: 3, seq: 1, left: 0,
      nodes: [{ node: n1, ageMs: 1, isStale: false, facts: { cpuCores: 0.5, rssBytes: 1 } }],
      instances: ["orders", "other"].map((slice) => ({
        node: n1, instance: `demo:${slice}:1.0.0/0`, slice, loopUtilization: 0.5, heapUsedBytes: 5, heapBytesMax: 10,
        inFlight: 1, queued: 9,
      })),
      methods: [{
        slice: "orders", method: "buy", direction: "handled", callsPerSecond: 4, errorsPerSecond: 1,
        durations: new Histogram(),
      }],
    });
    const recorded = JSON.parse((await aether("control", "record", "--slice", "orders", "--since", "10min")).out);
    expect(recorded.slices).toEqual({ orders: { instances: 2 } });
    const names = recorded.series.map(({ name }: { readonly name: string }) => name);
    expect(names).toEqual(expect.arrayContaining(["slice/orders/queued", "cluster/cpuCores"]));
    expect(names.filter((name: string) => /^(slice\/other|node)/.test(name))).toEqual([]);
    await record();
    const played = await aether("control", "simulate", "rules.yaml", "load.json", "--json");
    expect(JSON.parse(played.out).slices).toMatchObject({ orders: { base: 2 }, other: { base: 1 } });
  });

  test("of a slice that nobody remembers is refused", async () => {
    const refused = await aether("control", "record", "--slice", "nobody");
    expect(refused).toMatchObject(refusedWith(1, "E_NOT_FOUND"));
    expect((await aether("control", "record", "--since", "long ago")).exitCode).toBe(2);
  });

  test("with advice that is none is refused with its line", async () => {
    await writeFile(join(directory, "load.csv"), "0,orders,queued,1\n20,orders,queued,1\n");
    await writeFile(join(directory, "advice.csv"), "seconds,slice,instances\n5,orders,3\n");
    const played = await aether("control", "simulate", "rules.yaml", "load.csv", "--advice", "advice.csv");
    expect(played.out).toMatch(/5 s +orders +model +1 → 3/);
    await writeFile(join(directory, "advice.csv"), "5,orders,many\n");
    const refused = await aether("control", "simulate", "rules.yaml", "load.csv", "--advice", "advice.csv");
    expect(refused).toMatchObject(refusedWith(1, "line 1: expected seconds,slice,instances"));
  });
});
