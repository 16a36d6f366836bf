// Slow. The commands that run whole clusters, as a newcomer runs them.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { findTestPorts } from "../support/test-ports.ts";
import { type AetherProcess, ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const DEMO_MS_MAX = 90_000;

test.each(["SIGINT", "SIGTERM"] as const)(
  "aether dev starts three nodes and says how to talk to them; %s ends all of them in order",
  async (signal) => {
    const { dev, directory, api } = await startDev();
    const said = dev.stdout.join("\n");
    for (const [at, name] of ["n1", "n2", "n3"].entries()) {
      expect(said).toContain(`${name} | aether node ${name} ready api=http://127.0.0.1:${api + at}`);
    }
    expect(said).toContain(`npx aether cluster status --api http://127.0.0.1:${api}`);
    expect(await ask(`http://127.0.0.1:${api}/v1/kv/data/a`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
    expect(await processesOf(directory)).toHaveLength(4);
    expect(await dev.stop(signal), dev.transcript()).toEqual({ code: 0, signal: null });
    expect(await processesOf(directory)).toEqual([]);
  },
);

test("aether dev keeps its data for the next time, and ends all nodes when one cannot start", async () => {
  const first = await startDev();
  expect(await ask(`http://127.0.0.1:${first.api}/v1/kv/data/kept`, { method: "PUT", body: "yes" })).toMatchObject({
    status: 200,
  });
  expect(await first.dev.stop("SIGINT")).toEqual({ code: 0, signal: null });
  const again = await startDev(first);
  expect(await ask(`http://127.0.0.1:${again.api}/v1/kv/data/kept`)).toMatchObject({ body: { value: "yes" } });
  const rival = again.fleet.run(argumentsOf({ ...again, directory: join(again.directory, "rival") }));
  const end = await rival.waitForEnd();
  expect(end.code, rival.transcript()).toBe(1);
  expect(rival.complaints.join("\n")).toMatch(/could not start/);
  expect(rival.stdout.join("\n")).toMatch(/E_PORT_IN_USE/);
  expect(await processesOf(join(again.directory, "rival"))).toEqual([]);
  expect(await ask(`http://127.0.0.1:${again.api}/readyz`)).toMatchObject({ status: 200 });
});

test("aether demo ends with exit code 0: everything that it promises held", async () => {
  const fleet = await NodeFleet.open();
  endWithTest(fleet.directory);
  const demo = fleet.run(["demo", "--json"]);
  const end = await demo.waitForEnd(DEMO_MS_MAX);
  expect(end, demo.transcript()).toEqual({ code: 0, signal: null });
  const found: unknown = JSON.parse(demo.stdout.join("\n"));
  expect(found).toBeTypeOf("object");
});

test("the commands of the store, the cluster and calls end with the stated exit codes", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"] });
  await fleet.startAll();
  const run = async (exitCode: number, ...args: readonly string[]): Promise<AetherProcess> => {
    const command = fleet.run(["--api", fleet.api("n1"), ...args]);
    const { code } = await command.waitForEnd();
    expect(code, `aether ${args.join(" ")}: ${command.transcript()}`).toBe(exitCode);
    if (exitCode === 1) expect(command.complaints).toEqual([expect.stringMatching(/E_[A-Z_]+/)]);
    return command;
  };
  await run(0, "kv", "put", "data/greeting", '"hello"');
  expect((await run(0, "--json", "kv", "get", "data/greeting")).stdout.join("")).toContain('"hello"');
  expect((await run(0, "kv", "list", "data/")).stdout.join("\n")).toContain("data/greeting");
  const status = await run(0, "--json", "cluster", "status");
  expect(z.object({ cluster: z.string() }).parse(JSON.parse(status.stdout.join("\n"))).cluster).toBe("test");
  await run(1, "kv", "get", "data/none");
  await run(1, "kv", "put", "leader", "1");
  await run(1, "call", "nobody", "run", "{}");
  await run(1, "blueprint", "status", "nobody");
  await run(2, "kv", "put");
  await run(2, "nothing");
  await run(0, "kv", "delete", "data/greeting");
  await fleet.process("n1").stop("SIGTERM");
  expect((await run(1, "kv", "get", "data/a")).complaints.join("")).toContain("no node answers at");
});

interface Dev {
  readonly fleet: NodeFleet;
  readonly directory: string;
  readonly peer: number;
  readonly api: number;
}

/** A cluster of three in one "terminal", ready. Its nodes are processes of their own, so looked for by name. */
async function startDev(before?: Dev): Promise<Dev & { readonly dev: AetherProcess }> {
  const settings = before ?? (await prepareDev());
  const dev = settings.fleet.run(argumentsOf(settings));
  await eventually("a cluster of three is running", () => {
    expect(dev.isRunning, dev.transcript()).toBe(true);
    return dev.stdout.includes("A cluster of 3 is running. In another terminal:") || undefined;
  });
  return { ...settings, dev };
}

async function prepareDev(): Promise<Dev> {
  const fleet = await NodeFleet.open();
  const directory = join(fleet.directory, "dev");
  endWithTest(directory);
  const peer = await findTestPorts(6);
  return { fleet, directory, peer, api: peer + 3 };
}

function argumentsOf({ directory, peer, api }: Pick<Dev, "directory" | "peer" | "api">): readonly string[] {
  return ["dev", "--dir", directory, "--peer-port", String(peer), "--api-port", String(api)];
}

/** The nodes of a cluster in one terminal are in process groups of their own: nothing else would end them. */
function endWithTest(directory: string): void {
  onTestFinished(async () => {
    for (const pid of await processesOf(directory)) process.kill(pid, "SIGKILL");
  });
}

/** Running processes that were started with this directory, told from the others by their command lines. */
async function processesOf(directory: string): Promise<readonly number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const found: number[] = [];
  for (const pid of pids) {
    // ignored: a process may end while its command line is read
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => undefined);
    if (line !== undefined && line.includes(directory)) found.push(Number(pid));
  }
  return found;
}
