// Slow. A backup of a cluster that goes on writing, and another cluster that begins with it.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet, type ProcessEnd } from "../support/node-fleet.ts";
import { WriteLoad } from "./support/write-load.ts";

const SLICES = fileURLToPath(new URL("./slices/", import.meta.url));
/** What a new cluster keeps as it was, of what can be listed. */
const KEPT = ["data/", "artifacts/", "blobs/", "blueprints/"];

const manifestSchema = z.object({
  revision: z.number(),
  rows: z.number(),
  digest: z.string(),
  parts: z.array(z.object({ file: z.string() })),
});
const seedSchema = z.object({ backupRevision: z.number(), revision: z.number(), digest: z.string() });
const pageSchema = z.object({
  entries: z.array(z.object({ key: z.string() }).loose()),
  more: z.boolean(),
});
const statusSchema = z.object({ slices: z.record(z.string(), z.object({ want: z.number(), active: z.number() })) });

interface Ended extends ProcessEnd {
  readonly stdout: string;
  readonly stderr: string;
}

async function aether(fleet: NodeFleet, args: readonly string[]): Promise<Ended> {
  const command = fleet.run(args);
  const end = await command.waitForEnd();
  return { ...end, stdout: command.stdout.join("\n"), stderr: command.stderr.join("\n") };
}

async function done(fleet: NodeFleet, args: readonly string[]): Promise<unknown> {
  const ended = await aether(fleet, [...args, "--json"]);
  expect(ended, args.join(" ")).toMatchObject({ code: 0 });
  return JSON.parse(ended.stdout);
}

/** Every entry that a backup keeps; those of the present, or at `revision`. */
async function entriesOf(api: string, revision?: number): Promise<unknown[]> {
  const found: unknown[] = [];
  for (const prefix of KEPT) {
    for (let after: string | undefined; ;) {
      const query = new URLSearchParams({ prefix });
      if (revision !== undefined) query.set("revision", String(revision));
      if (after !== undefined) query.set("after", after);
      const answer = await ask(`${api}/v1/kv?${query.toString()}`);
      expect(answer, `${prefix}: ${JSON.stringify(answer.body).slice(0, 300)}`).toMatchObject({ status: 200 });
      const page = pageSchema.parse(answer.body);
      found.push(...page.entries);
      if (!page.more) break;
      after = page.entries.at(-1)?.key;
    }
  }
  return found;
}

async function applyBlueprint(api: string, fleet: NodeFleet): Promise<void> {
  await done(fleet, ["slice", "push", `${SLICES}probe`, "--api", api]);
  const body = { slices: { probe: { artifact: "test:probe@^1.0.0", instances: 2 } } };
  expect(await ask(`${api}/v1/blueprints/probes`, { method: "PUT", body })).toMatchObject({ status: 200 });
  await serves(api);
}

async function serves(api: string): Promise<void> {
  await eventually("both instances are active", async () => {
    const { body } = await ask(`${api}/v1/blueprints/probes/status`);
    return statusSchema.parse(body).slices["probe"]?.active === 2 || undefined;
  });
  await eventually("a call is answered", async () => {
    const { status } = await ask(`${api}/v1/call/probe/where`, { method: "POST", body: {} });
    return status === 200 || undefined;
  });
}

test("a backup under load is of one revision, and a new cluster of three begins with exactly that", async () => {
  const old = await NodeFleet.open({ cluster: "old" });
  await old.startAll();
  await applyBlueprint(old.api("n1"), old);
  const load = new WriteLoad(old);
  load.start();
  await load.progress(300);
  const folder = join(old.directory, "backup");
  const manifest = manifestSchema.parse(
    await done(old, ["cluster", "backup", folder, "--api", old.api("n2")]),
  );
  await load.progress(100);
  await load.stop();
  const wanted = await entriesOf(old.api("n3"), manifest.revision);
  expect(wanted.length).toBeGreaterThan(300);

  const fresh = await NodeFleet.open({ cluster: "new" });
  const seeds: unknown[] = [];
  for (const name of fresh.names) {
    const target = ["--data-dir", fresh.dataDir(name), "--cluster", "new"];
    seeds.push(await done(fresh, ["cluster", "restore", folder, ...target]));
  }
  expect(seedSchema.parse(seeds[0])).toMatchObject({ backupRevision: manifest.revision, digest: manifest.digest });
  await fresh.startAll();
  for (const name of fresh.names) expect(await entriesOf(fresh.api(name))).toEqual(wanted);
  await serves(fresh.api("n2"));
  const { body } = await ask(`${fresh.api("n1")}/v1/kv/data/after`, { method: "PUT", body: 1 });
  expect(z.object({ revision: z.number() }).parse(body).revision).toBeGreaterThan(manifest.revision);
  // Both go on, each for itself, also after a restart of all.
  await fresh.kill(...fresh.names);
  await fresh.startAll();
  expect(await ask(`${fresh.api("n3")}/v1/kv/data/after`)).toMatchObject({ status: 200 });
  expect(await ask(`${old.api("n3")}/v1/kv/data/after`)).toMatchObject({ status: 404 });
});

test("what would harm is refused: a full folder, a used data directory, a damaged or unfinished backup", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"] });
  await fleet.startAll();
  await ask(`${fleet.api("n1")}/v1/kv/data/a`, { method: "PUT", body: "x".repeat(300_000) });
  const folder = join(fleet.directory, "backup");
  const backup = ["cluster", "backup", folder, "--api", fleet.api("n1")];
  const { parts } = manifestSchema.parse(await done(fleet, backup));
  expect(await aether(fleet, backup)).toMatchObject({ code: 1, stderr: expect.stringContaining("E_CONFLICT") });

  const restore = (dataDir: string): Promise<Ended> =>
    aether(fleet, ["cluster", "restore", folder, "--data-dir", dataDir, "--cluster", "other"]);
  const used = await restore(fleet.dataDir("n1"));
  expect(used).toMatchObject({ code: 1, stderr: expect.stringContaining("E_CONFLICT") });

  const part = join(folder, parts[0]?.file ?? "");
  const bytes = await readFile(part);
  const target = join(fleet.directory, "restored");
  for (const damage of [
    async () => {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(changed.length >> 1) ^ 1, changed.length >> 1);
      await writeFile(part, changed);
    },
    () => writeFile(part, bytes.subarray(0, bytes.length - 10)),
  ]) {
    await damage();
    expect(await restore(target)).toMatchObject({ code: 1, stderr: expect.stringContaining("E_DATA_CORRUPT") });
    expect(await readdir(fleet.directory)).not.toContain("restored");
  }
  await writeFile(part, bytes);
  await done(fleet, ["cluster", "restore", folder, "--data-dir", target, "--cluster", "other"]);
  await writeFile(join(folder, "manifest.json"), "{");
  const unfinished = await restore(join(fleet.directory, "another"));
  expect(unfinished).toMatchObject({ code: 1, stderr: expect.stringContaining("manifest.json") });
  expect(await aether(fleet, ["cluster", "restore", folder])).toMatchObject({ code: 2 });
});
