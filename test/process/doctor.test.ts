// Slow. What `aether doctor` says of a cluster in which each of these things is really wrong, and of one that is well.
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { stringify } from "yaml";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const findingSchema = z.object({
  check: z.string(), of: z.string().optional(), level: z.string(), what: z.string(), advice: z.string().optional(),
});
const reportSchema = z.object({ needsPerson: z.boolean(), findings: z.array(findingSchema) });

interface Report {
  readonly code: number | null;
  /** `level check of`, without what is well. */
  readonly wrong: readonly string[];
  readonly text: string;
}

async function examine(fleet: NodeFleet, via: string, ...args: readonly string[]): Promise<Report> {
  const doctor = fleet.run(["doctor", "--json", "--api", fleet.api(via), ...args]);
  const { code } = await doctor.waitForEnd();
  const text = doctor.stdout.join("\n");
  const { findings, needsPerson } = reportSchema.parse(JSON.parse(text));
  expect(code, doctor.transcript()).toBe(needsPerson ? 1 : 0);
  for (const { level, advice } of findings) expect(advice !== undefined).toBe(["warning", "problem"].includes(level));
  const wrong = findings.filter(({ level }) => level !== "ok")
    .map(({ level, check, of }) => `${level} ${check}${of === undefined ? "" : ` ${of}`}`);
  return { code, wrong, text };
}

/** A module that Node.js loads before the node. */
function preload(source: string): readonly string[] {
  return ["--import", `data:text/javascript,${encodeURIComponent(source)}`];
}

const CLOCK_AHEAD = preload("const now = Date.now; Date.now = () => now() + 30000;");
const SLOW_DISK = preload(`
import { open } from "node:fs/promises";
const file = await open("/dev/null");
const proto = Object.getPrototypeOf(file);
const sync = proto.datasync;
proto.datasync = async function () {
  await new Promise((resolve) => setTimeout(resolve, 250));
  return sync.call(this);
};
await file.close();`);
const FULL_DISK = preload(`
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
const { statfs } = fs;
fs.statfs = async (path) => ({ ...(await statfs(path)), bsize: 4096, bavail: 1000, blocks: 1000000 });
syncBuiltinESMExports();`);
const FEW_DESCRIPTORS = ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh"];

test("a cluster that is well has no finding that needs a person", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const { code, wrong, text } = await eventually("all is well", async () => {
    const report = await examine(fleet, "n2");
    return report.code === 0 ? report : undefined;
  });
  expect(code, text).toBe(0);
  expect(wrong.filter((line) => !/disk-(space|time)|descriptors/.test(line))).toEqual([]);
});

test("a wrong clock, a slow or full disk, few descriptors, other settings, a full store: each is found", async () => {
  const fleet = await NodeFleet.open();
  const started = await Promise.all([
    fleet.launch("n1", {}, { launcher: FEW_DESCRIPTORS }),
    fleet.launch("n2", {}, { nodeOptions: [...CLOCK_AHEAD, ...FULL_DISK] }),
    fleet.launch("n3", { deployment: { loadingMsMax: 50_000 } }, { nodeOptions: SLOW_DISK }),
  ]);
  await Promise.all(started.map((node) => node.ready()));
  await fleet.command("n1", "cluster", "quota", "1MiB");
  for (let row = 0; row < 4; row++) {
    const body = "x".repeat(250_000);
    await ask(`${fleet.api("n1")}/v1/kv/data/big-${row}`, { method: "PUT", body });
  }
  const { wrong } = await eventually("all of it is found", async () => {
    const report = await examine(fleet, "n1");
    return report.wrong.includes("problem settings") ? report : undefined;
  });
  expect(wrong).toEqual(expect.arrayContaining([
    "problem clock n2", "problem disk-space n2", "problem disk-time n3", "problem settings",
    "warning descriptors n1", "warning quota n1",
  ]));
  for (const line of wrong) expect(line).not.toMatch(/clock n[13]|settings n|quorum|answers/);
});

test("a cluster that dies node by node is told of as far as anybody can, and then this machine is", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  await fleet.kill("n3");
  const one = await eventually("it is missed", async () => {
    const report = await examine(fleet, "n1");
    return report.wrong.includes("problem quorum") ? report : undefined;
  });
  expect(one.wrong).toEqual(expect.arrayContaining(["problem answers n3", "unknown disk-time n3"]));
  expect(one.text).toContain("no other voter may fail");
  await fleet.kill("n2");
  const two = await eventually("the quorum is lost", async () => {
    const report = await examine(fleet, "n1");
    return report.text.includes("no writes") ? report : undefined;
  });
  expect(two.wrong).toEqual(expect.arrayContaining(["problem ready n1", "problem answers n2"]));
  await fleet.kill("n1");
  const file = join(fleet.directory, "look.yaml");
  await writeFile(file, stringify(fleet.configOf("n1")));
  const none = await examine(fleet, "n1", "--config", file);
  expect(none.wrong).toEqual(expect.arrayContaining([`problem answers ${fleet.api("n1")}`, "unknown quorum"]));
  const offline = await examine(fleet, "n1", "--config", file, "--offline");
  expect(offline.wrong.filter((line) => !line.includes("disk-"))).toEqual([]);
  expect(offline.text).toContain("a write is safe on disk after");
});

test("a port that is taken, and a configuration that cannot be read, are found without any node", async () => {
  const fleet = await NodeFleet.open();
  const { port } = new URL(fleet.peer("n1"));
  const other = createServer().listen({ host: "127.0.0.1", port: Number(port) });
  await once(other, "listening");
  onTestFinished(() => void other.close());
  const file = join(fleet.directory, "look.yaml");
  await writeFile(file, stringify(fleet.configOf("n1")));
  const taken = await examine(fleet, "n1", "--offline", "--config", file);
  expect(taken.wrong.filter((line) => line.includes("ports"))).toEqual(["problem ports this machine"]);
  await writeFile(file, "cluster: [");
  const broken = await examine(fleet, "n1", "--offline", "--config", file);
  expect(broken.wrong).toEqual([
    "problem config this machine", ...["disk-time", "disk-space", "descriptors", "ports"].map((check) =>
      `unknown ${check} this machine`),
  ]);
});
