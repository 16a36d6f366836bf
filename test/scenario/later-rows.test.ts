// While versions are mixed, rows of kinds that only a later build knows stand beside all others: nobody stops at them.
import { expect, test } from "vitest";
import { z } from "zod";
import { present } from "../../src/base/assert.ts";
import { parseJobId } from "../../src/base/ids.ts";
import { knownKey, type KeyText } from "../../src/kvstore/core/key.ts";
import type { KvChange, KvEntry } from "../../src/kvstore/core/schema.ts";
import type { KvStore } from "../../src/kvstore/kv-store.ts";
import { defineAgent, defineSignal } from "../../src/sdk/index.ts";
import { askJobs, TESTER } from "../../src/testkit/ask-jobs.ts";
import { openTestCluster } from "../../src/testkit/create-test-cluster.ts";
import { inlineSlice } from "../../src/testkit/inline-slice.ts";
import type { ClusterParts } from "../../src/testkit/node-seams.ts";

/** Pages that are shorter are looked at for what comes first, not for all. */
const PAGE_MIN = 5;
/** Log and ledger of a job: what stands between their rows is damage. */
const DATA = "job-data/";

const go = defineSignal("go", z.number());
const agent = defineAgent({
  name: "waiting", input: z.object({ isChild: z.boolean() }), output: z.any(), signals: [go],
  run: async (job, { isChild }): Promise<unknown> => {
    await job.step("large", () => "x".repeat(70_000));
    if (isChild) return "done";
    const told = await job.waitFor(go);
    await job.sleep("nap", "10 seconds");
    const { approved } = await job.approve("may", { summary: "May it?", data: {} });
    return [told, approved, await job.child("waiting", { isChild: true }, { name: "c" })];
  },
});

test("jobs run, move to another node, are listed and exported beside rows that only a later build knows", async () => {
  let parts: ClusterParts | undefined;
  await using cluster = await openTestCluster({
    seed: 1, time: "virtual",
    slices: [inlineSlice({ artifact: "test:waiting:1.0.0", create: () => agent })],
    blueprint: { name: "waiting", slices: { waiting: { artifact: "test:waiting:1.0.0" } } },
  }, { parts: (given) => (parts = given), kv: withLaterRows });
  const ports = present(parts, "the cluster is open").jobs();
  const job = await cluster.agent(agent).start({ isChild: false });
  await job.signal(go, 5);
  await cluster.until(async () => (await job.status()).waiting?.reason === "timer");
  const [node] = cluster.nodes;
  cluster.kill(present(node, "there are nodes"));
  await cluster.skip("10 seconds");
  await job.approve("may");
  expect(await job.result()).toEqual({ kind: "completed", output: [5, true, "done"] });
  for (const order of ["newest", "oldest"] as const) {
    const { jobs } = await askJobs(ports, "listing", (doors) => doors.list({ order }));
    expect(jobs.map(({ row }) => row.status)).toEqual(["completed", "completed"]);
  }
  const events = await askJobs(ports, "reading", (doors) => doors.events(parseJobId(job.id), {}));
  expect(events.events.length).toBeGreaterThan(5);
  const lines = await askJobs(ports, "exporting", async (doors) => {
    const found: string[] = [];
    for await (const line of await doors.export(parseJobId(job.id))) found.push(line);
    return found.length;
  });
  expect(lines).toBeGreaterThan(5);
  const second = await cluster.agent(agent).start({ isChild: false });
  await cluster.until(async () => (await second.status()).waiting?.reason === "signal");
  await askJobs(ports, "cancelling", (doors) => doors.cancel(parseJobId(second.id), TESTER));
  expect(await second.result()).toEqual({ kind: "cancelled" });
});

/** As if a later build had written a row of a kind of its own before the first of each page, and with each change. */
function withLaterRows(kv: KvStore): KvStore {
  const list: KvStore["list"] = async (query, options) => {
    const page = await kv.list(query, options);
    const [first] = page.entries;
    const isWhole = first !== undefined && (query.limit ?? PAGE_MIN) >= PAGE_MIN && !query.prefix.startsWith(DATA);
    return isWhole ? { ...page, entries: [laterRow(first), ...page.entries] } : page;
  };
  const watch: KvStore["watch"] = (prefixes, handlers, options) => kv.watch(prefixes, {
    ...handlers,
    onChanges: ({ revision, changes }) => handlers.onChanges({
      revision,
      changes: changes.flatMap((change): readonly KvChange[] =>
        (change.kind === "put" ? [{ ...change, entry: laterRow(change.entry) }, change] : [change])),
    }),
  }, options);
  return Object.create(kv, { list: { value: list }, watch: { value: watch } }) as KvStore;
}

function laterRow(entry: KvEntry): KvEntry {
  const key = `${entry.key}/~later` as KeyText;
  expect(knownKey(key)).toBeUndefined();
  return { ...entry, key, value: { later: true } };
}
