import { expect, test } from "vitest";
import { createDeferred, type Deferred } from "../../../src/base/deferred.ts";
import type { StoreOp } from "../../../src/env/store.ts";
import { WriteQueue } from "../../../src/storage/write-queue.ts";

interface Disk {
  readonly queue: WriteQueue;
  /** Keys of each group that reached the disk, and the end of its fsync. */
  readonly groups: { readonly keys: string; readonly synced: Deferred<void> }[];
}

function openDisk(): Disk {
  const groups: Disk["groups"] = [];
  const queue = new WriteQueue((ops) => {
    const synced = createDeferred<void>();
    groups.push({ keys: ops.map((op) => Buffer.from(op.key).toString()).join(""), synced });
    return synced.promise;
  });
  return { queue, groups };
}

const put = (key: string): StoreOp[] => [{ kind: "put", key: Buffer.from(key), value: Buffer.from("") }];
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("one write is under way; those that come meanwhile share the next", async () => {
  const { queue, groups } = openDisk();
  const answers: string[] = [];
  for (const key of ["a", "b", "c"]) queue.write(put(key), () => answers.push(key));
  expect(groups.map((group) => group.keys)).toEqual(["a"]);
  groups[0]?.synced.resolve();
  await turn();
  expect(answers).toEqual(["a"]);
  expect(groups.map((group) => group.keys)).toEqual(["a", "bc"]);
  groups[1]?.synced.resolve();
  await turn();
  expect(answers).toEqual(["a", "b", "c"]);
});

test("after a failed fsync nothing is written any more and every later write fails alike", async () => {
  const { queue, groups } = openDisk();
  const failures: (string | undefined)[] = [];
  queue.write(put("a"), (failure) => failures.push(failure?.message));
  queue.write(put("b"), (failure) => failures.push(failure?.message));
  groups[0]?.synced.reject(new TypeError("input/output error"));
  await turn();
  queue.write(put("c"), (failure) => failures.push(failure?.message));
  await turn();
  expect(failures).toEqual(["input/output error", "input/output error", "input/output error"]);
  expect(groups).toHaveLength(1);
});

test("close waits for writes that are queued behind the one under way", async () => {
  const { queue, groups } = openDisk();
  const answers: string[] = [];
  queue.write(put("a"), () => answers.push("a"));
  queue.write(put("b"), () => answers.push("b"));
  const closed = queue.close().then(() => answers.push("closed"));
  groups[0]?.synced.resolve();
  await turn();
  groups[1]?.synced.resolve();
  await closed;
  expect(answers).toEqual(["a", "b", "closed"]);
});
