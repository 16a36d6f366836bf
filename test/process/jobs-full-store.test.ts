// Slow. The store's quota is used up while jobs run, by what users store and by the jobs themselves: new work is
// refused and says why, nothing that was done is lost or done again, and all of it goes on once there is room.
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { KiB, MiB } from "../../src/base/units.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const usageSchema = z.object({ liveBytes: z.number(), quotaBytes: z.number() });
const shownSchema = z.object({ status: z.string(), steps: z.int() });
/** Of a log that is larger than what the store has in reserve. */
const STEPS = 3_000;
/** What there is room for when the jobs begin. */
const ROOM_BYTES = 4 * MiB;
const PATIENCE_MS = 120_000;

let fleet: NodeFleet;

async function usage(): Promise<z.output<typeof usageSchema>> {
  return usageSchema.parse((await ask(`${fleet.api("n1")}/v1/cluster/quota`)).body);
}

async function shown(job: string): Promise<z.output<typeof shownSchema>> {
  return shownSchema.parse((await ask(`${fleet.api("n2")}/v1/jobs/${job}`)).body);
}

/** Fills the store with data of users, up to its quota. */
async function fill(): Promise<void> {
  const piece = "x".repeat(64 * KiB);
  for (const size of [64 * KiB, 4 * KiB, 256]) {
    for (let at = 0; ; at++) {
      const body = piece.slice(0, size);
      const { status } = await ask(`${fleet.api("n1")}/v1/kv/data/${size}/${at}`, { method: "PUT", body });
      if (status === 507) break;
      expect(status).toBe(200);
    }
  }
}

test("jobs hold still in a full store, and go on when there is room", async () => {
  fleet = await NodeFleet.open();
  const paid: string[] = [];
  let mayAnswer = (): void => undefined;
  const answered = new Promise<void>((resolve) => (mayAnswer = resolve));
  const shop = createServer((request, response) => {
    paid.push(request.url ?? "");
    void answered.then(() => response.end("receipt"));
  });
  shop.listen(0, "127.0.0.1");
  await once(shop, "listening");
  onTestFinished(() => {
    shop.closeAllConnections();
    shop.close();
  });
  const url = `http://127.0.0.1:${(shop.address() as AddressInfo).port}`;
  await fleet.startAll();
  await applyAgents(fleet, "agents");
  await startJob(fleet, "n1", { agent: "waiting", id: "waits", input: { sleepMs: 1 } });
  await startJob(fleet, "n1", { agent: "paying", id: "pays", input: { url } });
  await eventually("it has asked the shop", async () => paid.length > 0 || undefined);
  await startJob(fleet, "n1", { agent: "counting", id: "counts", input: { steps: STEPS } });
  const { liveBytes } = await usage();
  const quotaBytes = liveBytes + ROOM_BYTES;
  await ask(`${fleet.api("n1")}/v1/cluster/quota`, { method: "POST", body: { quotaBytes } });
  await fill();

  // New work is refused, and says why; what a call has come to is written all the same.
  const small = { agent: "counting", id: "small", input: { steps: 1 } };
  await eventually("a start is refused", async () => {
    const { status, body } = await ask(`${fleet.api("n3")}/v1/jobs`, { method: "POST", body: small });
    if (status !== 507) return undefined;
    expect(body).toMatchObject({ error: { code: "E_QUOTA", outcome: "not-applied" } });
    return true;
  });
  mayAnswer();
  expect(await resultOf(fleet, "n1", "pays", PATIENCE_MS)).toMatchObject({ output: { paid: "receipt" } });

  // The one that goes on and on comes to the end of what is in reserve, and stays as it is.
  await eventually("its steps have no room", async () => fleet.names.some((name) =>
    fleet.process(name).logged("cluster.store-unavailable").some(({ service, code }) =>
      service === "jobs" && code === "E_QUOTA")) || undefined, PATIENCE_MS);
  const held = await shown("counts");
  expect(held.status).toBe("running");
  expect(held.steps).toBeLessThan(STEPS);
  const quota = await fleet.command("n1", "cluster", "quota");
  expect(quota.transcript()).toMatch(/\(10\d\.\d%\)/);
  expect((await usage()).liveBytes).toBeLessThan(1.04 * quotaBytes);
  for (const job of ["waits", "counts"]) await fleet.command("n2", "job", "show", job);
  // What people say is heard.
  await fleet.command("n2", "job", "cancel", "waits");
  expect(await resultOf(fleet, "n1", "waits", PATIENCE_MS)).toEqual({ kind: "cancelled" });

  // Also its node may go: nothing is lost.
  const list = z.object({ jobs: z.array(z.object({ job: z.string(), owner: z.string().optional() })) });
  const { jobs } = list.parse((await ask(`${fleet.api("n1")}/v1/jobs?agent=counting`)).body);
  const owner = jobs[0]?.owner ?? "n3";
  if (owner !== "n1") await fleet.kill(owner);
  // Users make room.
  for (let at = 0; at < 64; at++) {
    const { status } = await ask(`${fleet.api("n1")}/v1/kv/data/${64 * KiB}/${at}`, { method: "DELETE" });
    expect(status).toBe(200);
  }
  if (owner !== "n1") await fleet.start(owner);
  const { output } = z.object({ output: z.object({ sum: z.int(), pids: z.array(z.int()) }) })
    .parse(await resultOf(fleet, "n1", "counts", PATIENCE_MS));
  expect(output.sum).toBe((STEPS * (STEPS + 1)) / 2);
  expect(output.pids).toHaveLength(STEPS);
  expect(paid).toHaveLength(1);
  await startJob(fleet, "n1", small);
  expect(await resultOf(fleet, "n1", "small")).toMatchObject({ output: { sum: 1 } });
  for (const job of ["counts", "pays", "waits"]) await fleet.command("n1", "job", "verify", job);
}, 300_000);
