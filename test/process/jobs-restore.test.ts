// Slow. A backup is taken, jobs go on and pay, then all nodes are lost and another cluster begins with the backup: what
// was paid is not paid again, and nothing runs before a person says so.
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applyAgents, resultOf } from "./support/fleet-jobs.ts";

const toolSchema = z.object({ call: z.string(), state: z.string(), effectId: z.string(), attempt: z.number() });
const shownSchema = z.object({
  status: z.string(),
  waiting: z.object({ reason: z.string() }).optional(),
  tools: z.array(toolSchema),
});
type Shown = z.output<typeof shownSchema>;

/** Does what it is asked to, and counts how often for each path. */
interface Shop {
  readonly server: Server;
  readonly url: string;
  readonly done: Map<string, number>;
  readonly asked: string[];
}

let shop: Shop;

beforeAll(async () => {
  const done = new Map<string, number>();
  const asked: string[] = [];
  const server = createServer(({ method, url = "" }, response) => {
    if (method === "POST") done.set(url, (done.get(url) ?? 0) + 1);
    else asked.push(url);
    response.statusCode = done.has(url) ? 200 : 404;
    response.end(`of ${url.split("/")[1] ?? ""}`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  shop = { server, url: `http://127.0.0.1:${port}`, done, asked };
});

afterAll(() => void shop.server.close());

async function shown(fleet: NodeFleet, job: string): Promise<Shown> {
  return shownSchema.parse((await ask(`${fleet.api("n1")}/v1/jobs/${job}`)).body);
}

async function shownAs(fleet: NodeFleet, job: string, what: string, holds: (shown: Shown) => boolean): Promise<Shown> {
  return await eventually(`job ${job} is ${what}`, async () => {
    const found = await shown(fleet, job);
    return holds(found) ? found : undefined;
  });
}

async function startWaiting(fleet: NodeFleet, job: string): Promise<void> {
  await fleet.command("n1", "job", "start", "settling", JSON.stringify({ url: shop.url }), "--id", job);
  await shownAs(fleet, job, "waiting", ({ waiting }) => waiting?.reason === "signal");
}

/** The job is whole in the cluster and in a file; the file needs no cluster, and shows where it was changed. */
async function checksEvidence(fleet: NodeFleet, job: string): Promise<void> {
  const whole = await fleet.command("n1", "job", "verify", job);
  expect(whole.transcript()).toMatch(/job lost-1 is whole, \d+ events, link [0-9a-f]{64}/);
  await fleet.command("n1", "job", "export", job, "--out", `${fleet.directory}/evidence.jsonl`);
  const verify = async (text: string): Promise<string> => {
    await writeFile(join(fleet.directory, "changed.jsonl"), text);
    const run = fleet.run(["job", "verify", `${fleet.directory}/changed.jsonl`, "--api", "http://127.0.0.1:1"]);
    return `${(await run.waitForEnd()).code}: ${run.transcript()}`;
  };
  const text = await readFile(`${fleet.directory}/evidence.jsonl`, "utf8");
  expect(await verify(text)).toMatch(/^0: .*job lost-1 is whole/s);
  expect(await verify(text.replace("found in the hall", "lost in the hall"))).toMatch(/^1: .*BROKEN from event \d+ on/s);
  expect(await verify(text.split("\n").slice(0, 3).join("\n"))).toMatch(/^1: .*E_INVALID: .*cut off/s);
}

test("what a job did after the backup is not done again, and nothing goes on unasked", async () => {
  const old = await NodeFleet.open({ names: ["n1"], cluster: "old" });
  await old.startAll();
  await applyAgents(old, "settling");
  await startWaiting(old, "lost-1");
  await startWaiting(old, "kept-1");
  const folder = join(old.directory, "backup");
  await old.command("n1", "cluster", "backup", folder);

  await old.command("n1", "job", "signal", "lost-1", "go", "{}");
  const output = { receipt: "of pay", parcel: "of ship" };
  expect(await resultOf(old, "n1", "lost-1")).toEqual({ kind: "completed", output });
  const before = await shown(old, "lost-1");
  await old.kill("n1");

  const fresh = await NodeFleet.open({ names: ["n1"], cluster: "fresh" });
  const restore = fresh.run([
    "cluster", "restore", folder, "--data-dir", fresh.dataDir("n1"), "--cluster", "fresh",
  ]);
  expect((await restore.waitForEnd()).code, restore.transcript()).toBe(0);
  await fresh.startAll();
  // Signals are kept, and a job that is started now runs: these do not.
  await fresh.command("n1", "job", "signal", "lost-1", "go", "{}");
  await fresh.command("n1", "job", "signal", "kept-1", "go", "{}");
  await startWaiting(fresh, "new-1");
  for (const job of ["lost-1", "kept-1"]) {
    expect(await shown(fresh, job)).toMatchObject({ status: "waiting", waiting: { reason: "restored" }, tools: [] });
  }
  expect(shop.asked).toEqual([]);

  const released = await fresh.command("n1", "job", "release", "--all");
  expect(released.transcript()).toMatch(/kept-1\nlost-1\n2 jobs go on/);
  // The shop knows of the one payment, and not of the other, which is made now.
  const inDoubt = ({ tools }: Shown): boolean =>
    tools.some(({ call, state }) => call.includes("ship") && state === "unknown");
  const lost = await shownAs(fresh, "lost-1", "in doubt", inDoubt);
  expect(lost.tools.map(({ effectId }) => effectId)).toEqual(before.tools.map(({ effectId }) => effectId));
  const kept = await shownAs(fresh, "kept-1", "in doubt", inDoubt);
  const [lostPay, lostShip, keptPay, keptShip] = [...lost.tools, ...kept.tools].map(({ call, effectId }) =>
    `/${call.includes("pay") ? "pay" : "ship"}/${effectId}`);
  expect([...shop.asked].sort()).toEqual([lostPay, keptPay].sort());
  expect(Object.fromEntries(shop.done)).toEqual({ [`${lostPay}`]: 1, [`${lostShip}`]: 1, [`${keptPay}`]: 1 });

  await fresh.command("n1", "job", "resolve", "lost-1", "ship#1", "--done", '{"parcel": "found in the hall"}');
  await fresh.command("n1", "job", "resolve", "kept-1", "ship#1", "--not-done");
  expect(await resultOf(fresh, "n1", "lost-1")).toMatchObject({ output: { parcel: "found in the hall" } });
  expect(await resultOf(fresh, "n1", "kept-1")).toEqual({ kind: "completed", output });
  expect(shop.done.get(`${lostShip}`)).toBe(1);
  expect(shop.done.get(`${keptShip}`)).toBe(1);
  const trace = await fresh.command("n1", "job", "trace", "lost-1");
  expect(trace.transcript()).toMatch(/let go on by anonymous/);
  await checksEvidence(fresh, "lost-1");
  const again = fresh.run(["--api", fresh.api("n1"), "job", "release", "kept-1"]);
  expect((await again.waitForEnd()).code).toBe(1);
  expect(again.transcript()).toContain("E_CONFLICT");
});
