import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { OrderedStore } from "../../../src/env/store.ts";
import { createLevelStorePort } from "../../../src/storage/level-adapter.ts";

const LOCKED = "another process has it open; stop that process or use another data directory";
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "aether-level-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const write = (store: OrderedStore, key: string, value: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    store.write([{ kind: "put", key: Buffer.from(key), value }], (failure) => (failure ? reject(failure) : resolve()));
  });

test("a locked directory is named, with what to do", async () => {
  const store = await createLevelStorePort(directory).open("kv");
  await expect(createLevelStorePort(directory).open("kv")).rejects.toMatchObject({
    code: "E_DATA_LOCKED",
    message: `cannot open ${join(directory, "kv")}: ${LOCKED}`,
    details: { directory: join(directory, "kv") },
  });
  await store.close();
});

test("a damaged manifest is E_DATA_CORRUPT", async () => {
  const store = await createLevelStorePort(directory).open("kv");
  await write(store, "a", Buffer.from("1"));
  await store.close();
  await writeFile(join(directory, "kv", "CURRENT"), "garbage");
  await expect(createLevelStorePort(directory).open("kv")).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
});

test("a manifest that is gone is E_DATA_CORRUPT", async () => {
  await mkdir(join(directory, "kv"));
  await writeFile(join(directory, "kv", "CURRENT"), "MANIFEST-000007\n");
  await expect(createLevelStorePort(directory).open("kv")).rejects.toMatchObject({
    code: "E_DATA_CORRUPT",
    message: expect.stringMatching(/MANIFEST-000007.*keep the directory/),
  });
});

test("a database without the file that names its manifest is E_DATA_CORRUPT, never started empty", async () => {
  const store = await createLevelStorePort(directory).open("kv");
  await write(store, "a", Buffer.from("1"));
  await store.close();
  await rm(join(directory, "kv", "CURRENT"));
  const before = await readdir(join(directory, "kv"));
  await expect(createLevelStorePort(directory).open("kv")).rejects.toMatchObject({
    code: "E_DATA_CORRUPT",
    message: expect.stringContaining("CURRENT"),
  });
  expect(await readdir(join(directory, "kv"))).toEqual(before);
});

test("a database whose creation was cut short is created again", async () => {
  await mkdir(join(directory, "kv"));
  for (const file of ["LOCK", "LOG", "MANIFEST-000001"]) await writeFile(join(directory, "kv", file), "");
  const store = await createLevelStorePort(directory).open("kv");
  await write(store, "a", Buffer.from("1"));
  await store.close();
});

test("directories that are not there are made", async () => {
  const port = createLevelStorePort(join(directory, "data", "n1"));
  const store = await port.open("kv");
  await write(store, "a", Buffer.from("1"));
  await store.close();
});

test("a missing table file is E_DATA_CORRUPT", async () => {
  const port = createLevelStorePort(directory);
  for (let round = 0; round < 3; round++) {
    // Each open turns the log of the last run into a table file.
    const store = await port.open("kv");
    await write(store, `key${round}`, Buffer.alloc(64 * 1024, round));
    await store.close();
  }
  const tables = (await readdir(join(directory, "kv"))).filter((file) => file.endsWith(".ldb"));
  expect(tables.length).toBeGreaterThan(0);
  for (const table of tables) await rm(join(directory, "kv", table));
  await expect(port.open("kv")).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
});

test("a path that is a file is refused with E_CONFIG", async () => {
  await writeFile(join(directory, "file"), "");
  await expect(createLevelStorePort(join(directory, "file")).open("kv")).rejects.toMatchObject({ code: "E_CONFIG" });
});

test("a read after close fails with a code", async () => {
  const store = await createLevelStorePort(directory).open("kv");
  await store.close();
  expect(() => store.getSync(Buffer.from("a"))).toThrow(expect.objectContaining({ code: "E_UNAVAILABLE" }));
});

test("a file that cannot be opened because no descriptor is left is E_DISK, not damage", async () => {
  const program = fileURLToPath(new URL("../../support/without-descriptors.ts", import.meta.url));
  const child = ["-c", `ulimit -n 128; exec "$@"`, "sh", process.execPath, "--import", "tsx", program, directory];
  const { stdout } = await promisify(execFile)("sh", child);
  expect(JSON.parse(stdout)).toMatchObject({ read: "E_DISK", open: "E_DISK" });
});

test("a disk that fails to read is E_DISK, not damage and no wrong path", async () => {
  const port = createLevelStorePort(directory);
  await (await port.open("kv")).close();
  const current = join(directory, "kv", "CURRENT");
  await rm(current);
  // What is at address 0 of a process cannot be read: the system answers as for a bad block.
  await symlink("/proc/self/mem", current);
  const message = expect.stringContaining("Input/output error");
  await expect(port.open("kv")).rejects.toMatchObject({ code: "E_DISK", message });
});

test("a table that the disk does not give ends the process; the next starts name it until it is given", async () => {
  const port = createLevelStorePort(directory);
  const program = fileURLToPath(new URL("../../support/without-table.ts", import.meta.url));
  const child = promisify(execFile)(process.execPath, ["--import", "tsx", program, directory]);
  await expect(child, "it touched what is not there").rejects.toMatchObject({ signal: "SIGBUS" });
  const kv = join(directory, "kv");
  const [table = ""] = (await readdir(kv)).filter((file) => file.endsWith(".ldb"));
  await rename(join(kv, table), join(directory, table));
  // What is at address 0 of a process cannot be read: the system answers as for a bad block.
  await symlink("/proc/self/mem", join(kv, table));
  for (let start = 0; start < 2; start++) {
    await expect(port.open("kv")).rejects.toMatchObject({
      code: "E_DISK",
      message: expect.stringMatching(new RegExp(`${table}: EIO.*; check the disk, then start the node`)),
    });
  }
  await rename(join(directory, table), join(kv, table));
  const store = await port.open("kv");
  await store.close();
});

test("tables are read ahead of use only after an end in no order, shortly after its start", async () => {
  const port = createLevelStorePort(directory);
  const kv = join(directory, "kv");
  await (await port.open("kv")).close();
  const startAndEnd = async (): Promise<void> => {
    // LevelDB does not know this table, so only whoever reads them all misses it. It removes it then.
    await symlink("/proc/self/mem", join(kv, "999999.ldb"));
    await (await port.open("kv")).close();
  };
  await expect(startAndEnd()).resolves.toBeUndefined();
  const mark = join(kv, "IN-USE");
  await writeFile(mark, "");
  await expect(startAndEnd()).rejects.toMatchObject({ code: "E_DISK" });
  await rm(join(kv, "999999.ldb"));
  const anHourAgo = Date.now() / 1_000 - 3_600;
  await utimes(mark, anHourAgo, anHourAgo);
  await expect(startAndEnd()).resolves.toBeUndefined();
});
