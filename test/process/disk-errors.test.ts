// A disk that answers EIO to writes, while reading goes on: the node says so and stops rather than promise what it may
// not hold; the others go on. The answers are injected into the system calls of the running process, because below
// LevelDB nothing else sees them. Needs strace and the right to use it, so it is left out, loudly, where there is none.
import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const WRITES = "write,writev,pwrite64,pwritev,pwritev2";
/** Longer than the time between two checkpoints: before the next one nothing of the state is written. */
const LIMIT_MS = 40_000;
const OPTIONS = { timeout: 2 * LIMIT_MS };

/** What a node writes to, and what it says when it cannot. */
const PLACES = [
  { folder: "journal", files: /\.seg$/, said: /^aether: E_DISK: writing the journal failed \(.*EIO/ },
  { folder: "kv", files: /\.log$/, said: /^aether: E_DISK: cannot write a checkpoint: .*Input\/output error/ },
];

test.for(PLACES)("a node that cannot write its $folder ends; the others go on", OPTIONS, async (place, context) => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const node = fleet.process("n2");
  const folder = join(fleet.dataDir("n2"), place.folder);
  const written = (await readdir(folder)).filter((name) => place.files.test(name)).map((name) => join(folder, name));
  expect(written).not.toEqual([]);
  if (!(await refuseWrites(node.pid, written))) {
    process.stderr.write("LEFT OUT: strace cannot be used here, so a disk that refuses writes was not tried\n");
    return context.skip();
  }
  await eventually("it has stopped", () => writeUntilEnded(fleet), LIMIT_MS);
  expect(await node.waitForEnd()).toEqual({ code: 1, signal: null });
  expect(node.complaints, node.transcript()).toEqual([expect.stringMatching(place.said)]);
  // The connections that it ended itself say nothing about the others.
  const failedAt = node.stderr.findIndex((line) => line.includes(`"node.failed"`));
  expect(failedAt).toBeGreaterThan(-1);
  expect(node.stderr.slice(failedAt).filter((line) => line.includes(`"node.suspected"`))).toEqual([]);
  expect(await ask(`${fleet.api("n1")}/v1/kv/data/after`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });

  await fleet.start("n2");
  await eventually("it has what it missed", async () => {
    const { body } = await ask(`${fleet.api("n2")}/v1/kv/data/after?consistency=local`);
    expect(body).toMatchObject({ value: 1 });
    return true;
  });
});

/** One more write through another node, which is acknowledged. */
async function writeUntilEnded(fleet: NodeFleet): Promise<true | undefined> {
  const put = await ask(`${fleet.api("n1")}/v1/kv/data/meanwhile`, { method: "PUT", body: 1 });
  expect(put.status).toBe(200);
  return fleet.process("n2").isRunning ? undefined : true;
}

/** From then on every write of the process to one of these files fails. False where that cannot be done. */
async function refuseWrites(pid: number, files: readonly string[]): Promise<boolean> {
  const paths = files.flatMap((file) => ["-P", file]);
  const args = ["-f", "-p", `${pid}`, ...paths, "-e", `trace=${WRITES}`, "-e", `inject=${WRITES}:error=EIO`];
  const tracer = spawn("strace", args, { stdio: ["ignore", "ignore", "pipe"] });
  onTestFinished(() => void tracer.kill());
  return new Promise((resolve) => {
    tracer.once("error", () => resolve(false));
    tracer.once("close", () => resolve(false));
    createInterface({ input: tracer.stderr }).on("line", (line) => {
      if (line.includes(" attached")) resolve(true);
    });
  });
}
