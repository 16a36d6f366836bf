// Slow. The agents' demo, small: real nodes, a payment service that does not say what it did, kills. It judges itself.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { AetherProcess } from "../support/node-fleet.ts";

const LIMIT_MS = 170_000;

const findingsSchema = z.object({
  isHeld: z.boolean(),
  customers: z.array(z.object({ approved: z.boolean().optional() })),
  children: z.array(z.unknown()),
  kills: z.int(),
  killsInCall: z.int(),
  unknowns: z.int(),
});

test("forty customers are paid once while nodes are killed", { timeout: LIMIT_MS + 10_000 }, async () => {
  const directory = await mkdtemp(join(tmpdir(), "aether-demo-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const demo = new AetherProcess([
    "demo", "agent", "--jobs", "40", "--seconds", "20", "--kills", "6", "--dir", join(directory, "demo"), "--json",
  ]);
  onTestFinished(() => demo.signal("SIGTERM"));
  const { code } = await demo.waitForEnd(LIMIT_MS);
  expect(code, demo.transcript()).toBe(0);
  const found = findingsSchema.parse(JSON.parse(demo.stdout.join("\n")));
  expect(found.isHeld).toBe(true);
  expect(found.customers).toHaveLength(40);
  expect(found.children.length).toBeGreaterThan(30);
  const decisions = found.customers.map(({ approved }) => approved);
  expect(decisions).toEqual(expect.arrayContaining([true, false]));
  expect(found.kills).toBeGreaterThanOrEqual(6);
  expect(found.killsInCall).toBeGreaterThanOrEqual(3);
  expect(found.unknowns).toBeGreaterThan(0);
});
