// Owns: agents in a real worker thread (compiled from src by `npm run build`), played the node by a test.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, expect, test } from "vitest";
import { createDeferred } from "../../../../src/base/deferred.ts";
import type { JobId } from "../../../../src/base/ids.ts";
import { KiB, MiB } from "../../../../src/base/units.ts";
import { FenceCell } from "../../../../src/jobs/ownership/fence-cell.ts";
import type { JobUid } from "../../../../src/jobs/core/ids.ts";
import type { AgentOp, FromAgent, ToAgent } from "../../../../src/jobs/core/worker/messages.ts";
import { UNSTORED_RESULT_BYTES_MAX } from "../../../../src/jobs/worker/unstored-results.ts";
import { buildSlice } from "../../../../src/slices/build/build-slice.ts";
import { decodeArchive } from "../../../../src/slices/core/archive.ts";
import type { WorkerBoot, WorkerMessage } from "../../../../src/slices/core/worker-protocol.ts";
import { createThreadWorkers } from "../../../../src/slices/host/thread-adapter.ts";

const AGENT = `
import { z } from "zod";
import { defineAgent, defineTool } from "aether/slice";
const pay = defineTool({
  name: "pay", input: z.object({ cents: z.int() }), output: z.string(), effect: "once",
  execute: ({ cents }, { effectId, assertOwner }) => { assertOwner(); return cents + " " + effectId; },
});
export default defineAgent({
  name: "claims", input: z.object({ order: z.string() }), output: z.string(), tools: { pay },
  run: async (job, { order }) => {
    const cents = await job.step("load", async () => order.length);
    return await job.tools.pay({ cents });
  },
});
`;
const BRANCHES = 2_000;
const READER = `
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { defineAgent } from "aether/slice";
export default defineAgent({
  name: "claims", input: z.any(), output: z.number(),
  run: async (job) => {
    const read = async (scope) => (await scope.step("read", () => randomBytes(${30 * KiB}).toString("hex"))).length;
    const names = Array.from({ length: ${BRANCHES} }, (_, at) => "b" + at);
    const lengths = await job.all(Object.fromEntries(names.map((name) => [name, read])));
    return Object.values(lengths).reduce((sum, length) => sum + length, 0);
  },
});
`;
const EFFECT = "e".repeat(64);

const opened: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

interface AgentThread {
  readonly fence: FenceCell;
  send(message: ToAgent): void;
  /** The owner's time goes on. */
  extendFence(): void;
}

/** Begins a run of the agent that this source has, in a thread of its own. */
async function openThread(source: string, hear: (message: FromAgent, thread: AgentThread) => void): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "aether-agent-thread-"));
  opened.push(() => rm(directory, { recursive: true, force: true }));
  await writeFile(join(directory, "slice.ts"), source);
  await writeFile(join(directory, "aether.json"), JSON.stringify({ artifact: "demo:claims", version: "1.0.0" }));
  const { bundle } = decodeArchive((await buildSlice({ directory })).archive);
  const file = join(directory, "bundle.mjs");
  await writeFile(file, bundle);
  const fence = new FenceCell();
  const loaded = createDeferred<void>();
  const exited = createDeferred<void>();
  const boot: WorkerBoot = {
    instance: "claims", slice: "claims", bundle: pathToFileURL(file).href, config: undefined, uses: {},
    limits: { logLinesPerSecondMax: 100, outgoingCallsMax: 100 }, fence: fence.shared,
  };
  const workers = createThreadWorkers();
  const worker = workers.spawn({
    name: "claims", role: "agents", data: boot, variables: {},
    limits: { heapBytesMax: 512 * MiB, youngHeapBytesMax: 8 * MiB, stackBytesMax: 4 * MiB },
  }, {
    onMessage: (received) => (received as readonly WorkerMessage[]).forEach((message) => {
      if (message.kind === "step-failed") loaded.reject(new RangeError(message.error.message));
      if (message.kind === "loaded") loaded.resolve();
      if (message.kind === "agent") hear(message.payload as FromAgent, thread);
    }),
    onOutput: () => undefined,
    onExit: () => exited.resolve(),
  });
  opened.push(async () => {
    worker.terminate();
    await exited.promise;
  });
  const thread: AgentThread = {
    fence,
    send: (payload) => worker.post([{ kind: "agent", payload }]),
    extendFence: () => fence.extendUntil(workers.threadsNowMs() + 60_000),
  };
  await loaded.promise;
  thread.send({ kind: "start", run: 1, start: {
    agent: "claims", job: "j" as JobId, uid: "a".repeat(32) as JobUid, input: { order: "seven" },
    epoch: 1, fence: fence.number, log: [],
  } });
}

test("an agent of a built package runs in a thread of its own, and acts only while the fence holds", async () => {
  const ended = createDeferred<AgentOp>();
  const refused: FromAgent[] = [];
  await openThread(AGENT, (said, { fence, send, extendFence }) => {
    const grant = (n: number): void => {
      send({ kind: "granted", run: 1, n, effectId: EFFECT as never, attempt: 1, fence: fence.number });
    };
    const commit = (upTo: number): void => send({ kind: "committed", run: 1, upTo, fence: fence.number });
    if (said.kind === "not-begun" || said.kind === "not-dispatched") {
      refused.push(said);
      extendFence();
      return said.kind === "not-dispatched" ? grant(2) : commit(0);
    }
    if (said.kind !== "op") return;
    commit(said.n);
    if (said.op.kind === "want-tool") {
      fence.replace();
      grant(said.n);
    }
    if (said.op.kind === "completed" || said.op.kind === "failed") ended.resolve(said.op);
  });
  expect(await ended.promise).toEqual({ kind: "completed", output: `5 ${EFFECT}` });
  expect(refused).toMatchObject([{ kind: "not-begun" }, { kind: "not-dispatched", call: "pay#1" }]);
});

test("two thousand branches fill the memory of a node by no more than it has not stored of their results", async () => {
  const ended = createDeferred<AgentOp>();
  let unstored = 0;
  let most = 0;
  let last = 0;
  await openThread(READER, (said, { fence, send, extendFence }) => {
    if (said.kind === "not-begun") extendFence();
    if (said.kind === "op") {
      last = said.n;
      unstored += said.op.kind === "step-completed" ? String(said.op.value).length : 0;
      most = Math.max(most, unstored);
      if (said.op.kind === "completed" || said.op.kind === "failed") return ended.resolve(said.op);
    }
    const isLast = last === BRANCHES;
    if (said.kind === "op" && !isLast && unstored < UNSTORED_RESULT_BYTES_MAX - 60 * KiB) return;
    // Some turns later, in which a worker that waits for nothing would have said a lot more.
    void turns(20).then(() => {
      unstored = 0;
      send({ kind: "committed", run: 1, upTo: last, fence: fence.number });
    });
  });
  expect(await ended.promise).toEqual({ kind: "completed", output: BRANCHES * 60 * KiB });
  expect(most).toBeLessThan(UNSTORED_RESULT_BYTES_MAX + 60 * KiB);
});

async function turns(count: number): Promise<void> {
  for (let at = 0; at < count; at += 1) await new Promise((resolve) => setImmediate(resolve));
}
