// Backups in files: what is cut short or damaged leaves nothing behind and never counts.
import type { ServerResponse } from "node:http";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { LEADER_KEY, parseKeyText } from "../../../src/kvstore/core/key.ts";
import { KvGenerations } from "../../../src/kvstore/kv-generations.ts";
import { KvState } from "../../../src/kvstore/kv-state.ts";
import { createRealClock } from "../../../src/node/env-clock-adapter.ts";
import { HttpApi } from "../../../src/cli/http-api.ts";
import { createProcessIo } from "../../../src/cli/process-io.ts";
import { restoreBackup, writeBackup } from "../../../src/node/backup.ts";
import { createLevelStorePort } from "../../../src/storage/level-adapter.ts";
import { createLocalKv, type LocalKv, SILENT_LOG } from "../../support/local-kv.ts";
import { openWebServer } from "../../support/web-server.ts";
import { BackupSource } from "../../../src/kvstore/backup-source.ts";
import { backupRoutes } from "../../../src/api/routes/backup.ts";

let directory: string;
let local: LocalKv;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "aether-backup-"));
  local = await createLocalKv();
});
afterEach(async () => {
  await local.close();
  await rm(directory, { recursive: true });
});

async function put(name: string, value: unknown): Promise<void> {
  await local.kv.transact({ compare: [], then: [{ kind: "put", key: parseKeyText(name), value }], else: [] });
}

/** What the API answers: a real stream of the real store. */
async function stream(): Promise<ReadableStream<Uint8Array>> {
  const backups = new BackupSource({ group: local.group, state: local.state, clock: createRealClock() });
  const services = { backups, cluster: () => ({ cluster: "local" }) };
  const [route] = backupRoutes(services as unknown as Parameters<typeof backupRoutes>[0]);
  const response = await route?.handle(undefined as never);
  return response?.body ?? expect.fail("no stream");
}

const opened = { onProgress: () => undefined };

test("a restored state has no rows of processes and keeps the epoch of the leader", async () => {
  await put("data/a", "x".repeat(300_000));
  for (const name of ["nodes/n1/state", "nodes/n1/intent", "slices/n1/a:b:1.0.0/0", "data/nodes"]) await put(name, 1);
  await put(LEADER_KEY, { epoch: 7 });
  const folder = join(directory, "backup");
  const written = await writeBackup({ directory: folder, open: async () => stream(), ...opened });
  const dataDir = join(directory, "n1");
  const signal = new AbortController().signal;
  const seed = await restoreBackup({ directory: folder, dataDir, cluster: "new", signal, ...opened });
  expect(seed).toMatchObject({ backupRevision: written.revision, digest: written.digest });
  const generations = await KvGenerations.open(createLevelStorePort(dataDir));
  const onFatal = (error: AetherError): never => expect.fail(error.message);
  const state = KvState.open({ generations, clock: createRealClock(), log: SILENT_LOG, cluster: "new", onFatal });
  expect(state).toMatchObject({ seedDigest: written.digest, loadedMark: undefined, loadedGeneration: 0 });
  const { entries } = await state.listLocal({ prefix: "" });
  expect(entries.map(({ key }) => key)).toEqual(["data/a", "data/nodes", "leader"]);
  expect(state.revision).toBe(seed.revision);
  expect(await state.openSnapshot()).toBeUndefined();
  await state.close();
  await generations.close();
});

test("a stream that ends early, breaks or is changed on the way leaves no folder, and nothing in one", async () => {
  await put("data/a", "x".repeat(300_000));
  await put("data/b", "x".repeat(300_000));
  const there = join(directory, "there");
  await mkdir(there);
  for (const damage of [
    (bytes: Buffer): Buffer => bytes.subarray(0, bytes.length - 1),
    (bytes: Buffer): Buffer => {
      bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
      return bytes;
    },
    (): Buffer => {
      throw new AetherError("E_TIMEOUT", "the connection was lost");
    },
  ]) {
    async function* damaged(): AsyncGenerator<Uint8Array> {
      const pieces: Uint8Array[] = [];
      for await (const piece of await stream()) pieces.push(piece);
      yield damage(Buffer.concat(pieces));
    }
    for (const folder of [there, join(directory, "new")]) {
      const writing = writeBackup({ directory: folder, open: async () => damaged(), ...opened });
      await expect(writing).rejects.toMatchObject({ code: expect.stringMatching(/E_DATA_CORRUPT|E_TIMEOUT/) });
    }
    expect(await readdir(directory)).toEqual(["there"]);
    expect(await readdir(there)).toEqual([]);
  }
});

test("a restore that is interrupted removes what it wrote, and only that", async () => {
  await put("data/a", 1);
  const folder = join(directory, "backup");
  await writeBackup({ directory: folder, open: async () => stream(), ...opened });
  const dataDir = join(directory, "n1");
  await mkdir(dataDir);
  await writeFile(join(dataDir, "notes.txt"), "mine");
  const stop = new AbortController();
  stop.abort();
  const restoring = restoreBackup({ directory: folder, dataDir, cluster: "new", signal: stop.signal, ...opened });
  await expect(restoring).rejects.toMatchObject({ name: "AbortError" });
  expect(await readdir(dataDir)).toEqual(["notes.txt"]);
});

test("of two backups into one folder at once one is refused, and the other one is whole", async () => {
  await put("data/a", "x".repeat(300_000));
  const folder = join(directory, "backup");
  const begin = () => writeBackup({ directory: folder, open: async () => stream(), ...opened });
  const ended = await Promise.allSettled([begin(), begin()]);
  expect(ended.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(ended).toContainEqual({ status: "rejected", reason: expect.objectContaining({ code: "E_CONFLICT" }) });
  const signal = new AbortController().signal;
  await restoreBackup({ directory: folder, dataDir: join(directory, "n1"), cluster: "new", signal, ...opened });
});

test("a backup that fails leaves what others have put into its folder meanwhile", async () => {
  await put("data/a", 1);
  const folder = join(directory, "backup");
  async function* disturbed(): AsyncGenerator<Uint8Array> {
    yield* await stream();
    await writeFile(join(folder, "notes.txt"), "mine");
    throw new AetherError("E_TIMEOUT", "the connection was lost");
  }
  const writing = writeBackup({ directory: folder, open: async () => disturbed(), ...opened });
  await expect(writing).rejects.toMatchObject({ code: "E_TIMEOUT" });
  expect(await readdir(folder)).toEqual(["notes.txt"]);
});

test("a folder that cannot be made or written to is E_DISK, and nothing was done", async () => {
  const file = join(directory, "file");
  await writeFile(file, "");
  const writing = writeBackup({ directory: join(file, "backup"), open: async () => stream(), ...opened });
  await expect(writing).rejects.toMatchObject({ code: "E_DISK", outcome: "not-applied" });
});

test.each([
  ["ends", (response: ServerResponse) => void setImmediate(() => response.destroy()), "was lost"],
  ["stands still", () => undefined, "has sent nothing for 0.1 s"],
] as const)("a node that %s in the middle of a backup is a lost connection", async (_what, then, message) => {
  const node = await openWebServer((_request, response) => {
    response.writeHead(200).write("x");
    then(response);
  });
  onTestFinished(() => node.close());
  const { signal } = new AbortController();
  const bytes = new HttpApi(createProcessIo(), node.url).bytes("/v1/cluster/backup", { signal, silenceMsMax: 100 });
  const open = (): Promise<AsyncIterable<Uint8Array>> => Promise.resolve(bytes);
  const writing = writeBackup({ directory: join(directory, "backup"), open, ...opened });
  await expect(writing).rejects.toMatchObject({ code: "E_TIMEOUT", message: expect.stringContaining(message) });
});
