// Slow. Tools with verifiers on real nodes: the owner of a job is killed after it has paid, and the payment is gone
// when another node takes over.
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { openWebServer, type WebServer } from "../support/web-server.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const shownSchema = z.object({ owner: z.string() });

let fleet: NodeFleet;
let server: WebServer;
let url: string;
/** What was paid and is still known of, by effect id. */
const paid = new Map<string, string>();
let payments = 0;
let isHolding = true;
let held = 0;

beforeAll(async () => {
  server = await openWebServer((request, response) => {
    const [, what = "", effectId = ""] = (request.url ?? "").split("/");
    if (what === "pay") {
      payments += 1;
      paid.set(effectId, `r-${payments}`);
    }
    if (what === "hold" && isHolding) return void (held += 1);
    return response.end(paid.get(effectId) ?? "nothing");
  });
  ({ url } = server);
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "verifying");
});

afterAll(async () => {
  await fleet.close();
  server.close();
});

interface TakenOver {
  readonly job: string;
  /** A node that lives. */
  readonly via: string;
  readonly owner: string;
}

/** A job whose owner was killed once it had paid; what it paid is gone if `isGone`. */
async function takenOver(agent: string, isGone: boolean): Promise<TakenOver> {
  isHolding = true;
  const before = held;
  const { job } = await startJob(fleet, "n1", { agent, input: { url } });
  await eventually("it has paid, and holds on", () => held > before || undefined);
  const { owner } = shownSchema.parse((await ask(`${fleet.api("n1")}/v1/jobs/${job}`)).body);
  await fleet.kill(owner);
  if (isGone) paid.clear();
  isHolding = false;
  return { job, owner, via: fleet.names.find((name) => name !== owner) ?? "" };
}

async function traceOf(via: string, job: string): Promise<string> {
  return (await fleet.command(via, "job", "trace", job)).stdout.join("\n");
}

test("what is so outside is verified, and the job goes on", async () => {
  const { job, via, owner } = await takenOver("strict-payer", false);
  expect(await resultOf(fleet, via, job)).toMatchObject({ kind: "completed" });
  expect(await traceOf(via, job)).toMatch(/tool pay#1 verified: it is so outside/);
  await fleet.command(via, "job", "verify", job);
  await fleet.start(owner);
});

test("a strict job whose payment is gone fails", async () => {
  const { job, via, owner } = await takenOver("strict-payer", true);
  expect(await resultOf(fleet, via, job)).toMatchObject({ kind: "failed", error: { code: "E_EFFECT_MISMATCH" } });
  await fleet.start(owner);
});

test("a job that only warns goes on, and its node counts it", async () => {
  const { job, via, owner } = await takenOver("warned-payer", true);
  expect(await resultOf(fleet, via, job)).toMatchObject({ kind: "completed" });
  expect(await traceOf(via, job)).toMatch(/tool pay#1 is not so outside \(warn\): outside it is "nothing"/);
  const living = fleet.names.filter((name) => name !== owner);
  const metrics = await Promise.all(living.map(async (name) => (await fetch(`${fleet.api(name)}/metrics`)).text()));
  expect(metrics.join("\n")).toMatch(/aether_job_effects_verified_total\{[^}]*verdict="differs"[^}]*\} [1-9]/);
  const warned = living.flatMap((name) => fleet.process(name).logged("jobs.effect-not-verified"));
  expect(warned).toContainEqual(expect.objectContaining({ job, call: "pay#1", found: "differs" }));
  await fleet.start(owner);
});

test("a person lets a job go on whose payment is gone", async () => {
  const before = payments;
  const { job, via, owner } = await takenOver("human-payer", true);
  const waiting = await eventually("it waits for a person", async () => {
    const text = JSON.stringify((await ask(`${fleet.api(via)}/v1/jobs/${job}`)).body);
    return text.includes('"stuck"') ? text : undefined;
  });
  expect(waiting).toContain("E_EFFECT_MISMATCH: the call pay#1 is recorded as done");
  await fleet.command(via, "job", "release", job);
  expect(await resultOf(fleet, via, job)).toMatchObject({ kind: "completed" });
  expect(payments).toBe(before + 1);
  await fleet.start(owner);
});
