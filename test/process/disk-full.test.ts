// A disk that is full: the node says so and stops rather than promise what it may not hold; the others go on.
// Needs the right to mount a small file system, so it is left out, loudly, where that is not permitted.
import { randomBytes } from "node:crypto";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const run = promisify(execFile);
const DISK_MIB = 16;
const VALUE_BYTES = 200_000;

test("a node whose disk is full stops with E_DISK and returns when there is room; others go on", async (context) => {
  const disk = await mountSmallDisk();
  if (disk === undefined) {
    process.stderr.write("LEFT OUT: no permission to mount a small disk, so a full one was not tried\n");
    return context.skip();
  }
  const fleet = await NodeFleet.open();
  const dataDir = join(disk, "n2");
  const node = await fleet.launch("n2", { dataDir });
  await fleet.start("n1", "n3");
  await node.ready();
  for (let at = 0; node.isRunning; at++) {
    expect(at, "writes until the disk is full").toBeLessThan((4 * DISK_MIB * 1_000_000) / VALUE_BYTES);
    // Random, because what is stored is compressed.
    const body = randomBytes(VALUE_BYTES).toString("base64");
    const put = await ask(`${fleet.api("n1")}/v1/kv/data/${at % 20}`, { method: "PUT", body });
    expect(put.status).toBe(200);
  }
  expect(await node.waitForEnd()).toEqual({ code: 1, signal: null });
  expect(node.complaints, node.transcript()).toEqual([expect.stringMatching(/^aether: E_DISK: /)]);
  expect(await ask(`${fleet.api("n1")}/v1/kv/data/after`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
  const early = await fleet.launch("n2", { dataDir });
  expect((await early.waitForEnd()).code).toBe(1);
  expect(early.complaints).toHaveLength(1);
  await run("mount", ["-o", `remount,size=${20 * DISK_MIB}m`, disk]);
  const again = await fleet.launch("n2", { dataDir });
  await again.ready();
  await eventually("it has what it missed", async () => {
    const { body } = await ask(`${fleet.api("n2")}/v1/kv/data/after?consistency=local`);
    expect(body).toMatchObject({ value: 1 });
    return true;
  });
});

/** Undefined where that is not permitted. */
async function mountSmallDisk(): Promise<string | undefined> {
  const directory = await mkdtemp(join(tmpdir(), "aether-disk-"));
  await mkdir(directory, { recursive: true });
  try {
    await run("mount", ["-t", "tmpfs", "-o", `size=${DISK_MIB}m`, "tmpfs", directory]);
  } catch {
    // ignored: the caller says that it was not permitted
    await rm(directory, { recursive: true });
    return undefined;
  }
  onTestFinished(async () => {
    await run("umount", ["--lazy", directory]);
    await rm(directory, { recursive: true });
  });
  await writeFile(join(directory, "probe"), "");
  return directory;
}
