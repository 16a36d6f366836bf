// Real directories and their real events. Nothing waits for time to pass: each wait ends with an event.
import { watch as watchDirectory } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createDeferred } from "../../../src/base/deferred.ts";
import type { CliIo } from "../../../src/cli/cli-io.ts";
import { createRealClock } from "../../../src/node/env-clock-adapter.ts";
import { DIRECTORIES_MAX, SourceWatch } from "../../../src/cli/dev/source-watch.ts";

const clock = createRealClock();
const io: CliIo = {
  env: {},
  cwd: "/",
  print: () => undefined,
  report: () => undefined,
  readInput: () => Promise.resolve(""),
  nowMs: () => clock.nowMs(),
  wallMs: () => 0,
  sleep: (ms, signal) => clock.sleep(ms, signal),
  onInterrupt: () => () => undefined,
  exitNow: () => undefined,
};

let root: string;
let watch: SourceWatch;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "aether-watch-"));
  await mkdir(join(root, "a"));
  await writeFile(join(root, "a/slice.ts"), "one");
  watch = new SourceWatch(io, root);
  await watch.cover([]);
});

afterEach(async () => {
  watch.close();
  await rm(root, { recursive: true });
});

async function noticed(change: () => Promise<void>): Promise<void> {
  const next = watch.next(AbortSignal.timeout(10_000));
  await change();
  await next;
}

test("a save is noticed: written in place, or as another file that takes its name", async () => {
  await noticed(() => writeFile(join(root, "a/slice.ts"), "two"));
  for (const text of ["three", "four"]) {
    await noticed(async () => {
      await writeFile(join(root, "a/.slice.ts.new"), text);
      await rename(join(root, "a/.slice.ts.new"), join(root, "a/slice.ts"));
    });
  }
});

test("what comes later is watched once it is covered", async () => {
  await noticed(async () => mkdir(join(root, "b/deep"), { recursive: true }).then(() => undefined));
  await watch.cover([]);
  await noticed(() => writeFile(join(root, "b/deep/new.ts"), "x"));
  await noticed(() => rm(join(root, "b"), { recursive: true }));
  await watch.cover([]);
  await noticed(() => writeFile(join(root, "c.yaml"), "x"));
});

test("files elsewhere are watched when they are named", async () => {
  const elsewhere = await mkdtemp(join(tmpdir(), "aether-elsewhere-"));
  try {
    await writeFile(join(elsewhere, "shared.ts"), "one");
    await watch.cover([join(elsewhere, "shared.ts"), join(elsewhere, "node_modules/x/index.js")]);
    await noticed(() => writeFile(join(elsewhere, "shared.ts"), "two"));
  } finally {
    await rm(elsewhere, { recursive: true });
  }
});

test("files of editors and of version control are not sources", async () => {
  const heard = new Set<string | null>();
  const seen = createDeferred<void>();
  const names = [".slice.ts.swp", "slice.ts~", "dist"];
  // Both get their events from the system at once: when this one has heard of all, so has the other.
  const other = watchDirectory(join(root, "a"), (_event, name) => {
    heard.add(name);
    if (names.every((one) => heard.has(one))) setImmediate(() => seen.resolve());
  });
  try {
    for (const name of names) await writeFile(join(root, "a", name), "x");
    await seen.promise;
    expect(watch.hasChanged).toBe(false);
    await noticed(() => writeFile(join(root, "a/slice.ts"), "x"));
  } finally {
    other.close();
  }
});

test("the end of the run ends the waiting", async () => {
  const stop = new AbortController();
  const waiting = watch.next(stop.signal);
  stop.abort();
  await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  await expect(watch.next(stop.signal)).rejects.toMatchObject({ name: "AbortError" });
});

test("a directory that holds far too much is refused", async () => {
  await Promise.all(Array.from({ length: DIRECTORIES_MAX }, (_, at) => mkdir(join(root, `d${at}`))));
  await expect(watch.cover([])).rejects.toMatchObject({ code: "E_TOO_LARGE" });
});
