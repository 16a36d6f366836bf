import { afterEach, beforeEach, expect, test } from "vitest";
import { BACKUP_IDLE_MS_MAX, BackupSource, BACKUPS_MAX } from "../../../src/kvstore/backup-source.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

let local: LocalKv;
let backups: BackupSource;
let idleClock: ManualClock;

beforeEach(async () => {
  local = await createLocalKv();
  idleClock = new ManualClock();
  backups = new BackupSource({ group: local.group, state: local.state, clock: idleClock });
});
afterEach(() => local.close());

const put = (name: string): Promise<unknown> =>
  local.kv.transact({ compare: [], then: [{ kind: "put", key: parseKeyText(`data/${name}`), value: 1 }], else: [] });

test("a backup has everything that was acknowledged before it was asked for", async () => {
  await put("a");
  await put("b");
  const backup = await backups.begin();
  expect(backup).toMatchObject({ revision: 2, stateHash: local.state.stateHash });
  await backup.close();
});

test("above the limit a backup is refused, until one of them is closed or read to its end", async () => {
  await put("a");
  const open = [];
  for (let count = 0; count < BACKUPS_MAX; count++) open.push(await backups.begin());
  await expect(backups.begin()).rejects.toMatchObject({ code: "E_OVERLOADED" });
  await open[0]?.close();
  await open[0]?.close();
  const next = await backups.begin();
  await expect(backups.begin()).rejects.toMatchObject({ code: "E_OVERLOADED" });
  await next.close();
  await open[1]?.close();
});

test("a node without a quorum gives none, and that does not count", async () => {
  await put("a");
  local.group.setMode("no-quorum");
  for (let count = 0; count <= BACKUPS_MAX; count++) {
    await expect(backups.begin()).rejects.toMatchObject({ code: "E_NO_QUORUM" });
  }
  local.group.setMode("deciding");
  await (await backups.begin()).close();
});

test("a backup that nobody reads on in is given up, and makes room for another one", async () => {
  await put("a");
  const [deaf, slow] = [await backups.begin(), await backups.begin()];
  await idleClock.advance(BACKUP_IDLE_MS_MAX - 1);
  await slow.next();
  await idleClock.advance(BACKUP_IDLE_MS_MAX - 1);
  await expect(deaf.next()).rejects.toMatchObject({ code: "E_TIMEOUT" });
  await expect(slow.next()).resolves.toBeDefined();
  const next = await backups.begin();
  await expect(backups.begin()).rejects.toMatchObject({ code: "E_OVERLOADED" });
  await Promise.all([deaf, slow, next].map((backup) => backup.close()));
});
