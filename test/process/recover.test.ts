// Slow. A majority of a cluster is lost for good, and a new one begins with what the last node has.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet, type ProcessEnd } from "../support/node-fleet.ts";
import { WriteLoad } from "./support/write-load.ts";

const reportSchema = z.object({
  oldCluster: z.string(),
  node: z.string(),
  voters: z.array(z.string()),
  slots: z.number(),
  revision: z.number(),
  lastWriteMs: z.number(),
  seed: z.object({ rows: z.number(), revision: z.number() }).optional(),
});
const pageSchema = z.object({ entries: z.array(z.object({ key: z.string() }).loose()), more: z.boolean() });

interface Ended extends ProcessEnd {
  readonly stdout: string;
  readonly stderr: string;
}

async function recover(fleet: NodeFleet, ...args: readonly string[]): Promise<Ended> {
  const command = fleet.run(["cluster", "recover", ...args]);
  const end = await command.waitForEnd();
  return { ...end, stdout: command.stdout.join("\n"), stderr: command.stderr.join("\n") };
}

/** Everything in a directory: names and contents. */
async function fingerprint(directory: string): Promise<string> {
  const hash = createHash("sha256");
  for (const entry of (await readdir(directory, { recursive: true, withFileTypes: true })).filter((e) => e.isFile())) {
    const path = join(entry.parentPath, entry.name);
    hash.update(path).update(await readFile(path));
  }
  return hash.digest("hex");
}

async function entriesOf(api: string): Promise<unknown[]> {
  const found: unknown[] = [];
  for (let after: string | undefined; ;) {
    const query = new URLSearchParams({ prefix: "data/" });
    if (after !== undefined) query.set("after", after);
    const page = pageSchema.parse((await ask(`${api}/v1/kv?${query}`)).body);
    found.push(...page.entries);
    if (!page.more) return found;
    after = page.entries.at(-1)?.key;
  }
}

async function revisionOf(api: string): Promise<number> {
  const { body } = await ask(`${api}/v1/kv?prefix=data/&limit=1&consistency=local`);
  return z.object({ revision: z.number() }).parse(body).revision;
}

test("two of three voters are lost: a new cluster has all that was acknowledged, and grows to three", async () => {
  const old = await NodeFleet.open({ cluster: "old" });
  await old.startAll();
  const load = new WriteLoad(old);
  load.start();
  await load.progress(500);
  await load.stop();
  const wanted = await entriesOf(old.api("n1"));
  const last = Math.max(...load.acknowledged.values());
  await eventually("n3 has everything", async () => (await revisionOf(old.api("n3"))) >= last || undefined);
  const running = await recover(old, old.dataDir("n3"), "--data-dir", join(old.directory, "new"), "--cluster", "new");
  expect(running).toMatchObject({ code: 1, stderr: expect.stringContaining("E_DATA_LOCKED") });
  await old.kill("n1", "n2");
  await rm(old.dataDir("n1"), { recursive: true });
  await rm(old.dataDir("n2"), { recursive: true });
  await old.kill("n3");

  const fresh = await NodeFleet.open({ cluster: "new", firstVoters: ["n3"] });
  const before = await fingerprint(old.dataDir("n3"));
  const target = ["--data-dir", fresh.dataDir("n3"), "--cluster", "new"];
  const look = await recover(fresh, old.dataDir("n3"), ...target);
  expect(look).toMatchObject({ code: 2, stderr: expect.stringContaining("--yes") });
  expect(look.stdout).toMatch(/^n3 of cluster old \(voters n1, n2, n3\): revision \d+, \d+ slots[^]*MAY BE LOST: /);
  const { code, stdout } = await recover(fresh, old.dataDir("n3"), ...target, "--yes", "--json");
  expect(code).toBe(0);
  const report = reportSchema.parse(JSON.parse(stdout));
  expect(report).toMatchObject({ oldCluster: "old", node: "n3", voters: ["n1", "n2", "n3"] });
  expect(report.revision).toBeGreaterThanOrEqual(last);
  expect(Math.abs(Date.now() - report.lastWriteMs)).toBeLessThan(600_000);
  expect(await fingerprint(old.dataDir("n3"))).toBe(before);
  expect(await readdir(fresh.directory)).toEqual(["n3"]);

  await fresh.start("n3");
  expect(await entriesOf(fresh.api("n3"))).toEqual(wanted);
  const put = await ask(`${fresh.api("n3")}/v1/kv/data/load/after`, { method: "PUT", body: 1 });
  // What was lost had revisions too: none of them comes again.
  expect(z.object({ revision: z.number() }).parse(put.body).revision).toBeGreaterThan(report.revision + 1_000_000);
  await fresh.start("n1", "n2");
  for (const name of ["n1", "n2"]) await fresh.command("n3", "node", "promote", name);
  await fresh.kill("n3");
  await eventually("the others are a quorum", async () => {
    const { status } = await ask(`${fresh.api("n1")}/v1/kv/data/load/later`, { method: "PUT", body: 2 });
    return status === 200 || undefined;
  });
  expect(await entriesOf(fresh.api("n2"))).toHaveLength(wanted.length + 2);
}, 120_000);

test("what cannot begin a new cluster is refused, and leaves nothing behind", async () => {
  const fleet = await NodeFleet.open({ cluster: "old", names: ["n1"] });
  await fleet.startAll();
  await ask(`${fleet.api("n1")}/v1/kv/data/a`, { method: "PUT", body: 1 });
  await fleet.kill("n1");
  const target = join(fleet.directory, "new");
  const attempt = (source: string, ...args: readonly string[]): Promise<Ended> =>
    recover(fleet, source, "--data-dir", target, ...args, "--yes");
  const sameName = await attempt(fleet.dataDir("n1"), "--cluster", "old");
  expect(sameName).toMatchObject({ code: 1, stderr: expect.stringContaining("E_INVALID") });
  const nothing = await attempt(join(fleet.directory, "nowhere"), "--cluster", "new");
  expect(nothing).toMatchObject({ code: 1, stderr: expect.stringContaining("E_NOT_FOUND") });
  expect(await attempt(fleet.dataDir("n1"))).toMatchObject({ code: 2 });
  const own = ["--data-dir", fleet.dataDir("n1"), "--cluster", "new", "--yes"];
  const used = await recover(fleet, fleet.dataDir("n1"), ...own);
  expect(used).toMatchObject({ code: 1, stderr: expect.stringContaining("E_CONFLICT") });
  await mkdir(`${target}.recovering`);
  const leftOver = await attempt(fleet.dataDir("n1"), "--cluster", "new");
  expect(leftOver).toMatchObject({ code: 1, stderr: expect.stringContaining("E_CONFLICT") });
  await rm(`${target}.recovering`, { recursive: true });
  const left = (await readdir(fleet.directory)).filter((name) => /^(?:n1\.|new)/.test(name));
  expect(left).toEqual([]);
  expect(await attempt(fleet.dataDir("n1"), "--cluster", "new")).toMatchObject({ code: 0 });
}, 60_000);
