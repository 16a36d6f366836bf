// Owns: agents in a real worker thread (compiled from src by `npm run build`), played the node by a test.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { createDeferred } from "../../../../src/base/deferred.ts";
import type { JobId } from "../../../../src/base/ids.ts";
import { MiB } from "../../../../src/base/units.ts";
import { FenceCell } from "../../../../src/jobs/ownership/fence-cell.ts";
import type { JobUid } from "../../../../src/jobs/core/ids.ts";
import type { AgentOp, FromAgent, ToAgent } from "../../../../src/jobs/core/worker/messages.ts";
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
const EFFECT = "e".repeat(64);

test("an agent of a built package runs in a thread of its own, and acts only while the fence holds", async () => {
  const directory = await mkdtemp(join(tmpdir(), "aether-agent-thread-"));
  await using _cleanup = { [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
  await writeFile(join(directory, "slice.ts"), AGENT);
  await writeFile(join(directory, "aether.json"), JSON.stringify({ artifact: "demo:claims", version: "1.0.0" }));
  const { bundle } = decodeArchive((await buildSlice({ directory })).archive);
  const file = join(directory, "bundle.mjs");
  await writeFile(file, bundle);
  const fence = new FenceCell();
  const ended = createDeferred<AgentOp>();
  const exited = createDeferred<void>();
  const refused: FromAgent[] = [];
  const boot: WorkerBoot = {
    instance: "claims", slice: "claims", bundle: pathToFileURL(file).href, config: undefined, uses: {},
    limits: { logLinesPerSecondMax: 100, outgoingCallsMax: 100 }, fence: fence.shared,
  };
  const workers = createThreadWorkers();
  const worker = workers.spawn({
    name: "claims", role: "agents", data: boot, variables: {},
    limits: { heapBytesMax: 64 * MiB, youngHeapBytesMax: 8 * MiB, stackBytesMax: 4 * MiB },
  }, {
    onMessage: (received) => (received as readonly WorkerMessage[]).forEach(hear),
    onOutput: () => undefined,
    onExit: () => exited.resolve(),
  });
  const send = (payload: ToAgent): void => worker.post([{ kind: "agent", payload }]);
  const grant = (n: number): void => {
    send({ kind: "granted", run: 1, n, effectId: EFFECT as never, attempt: 1, fence: fence.number });
  };
  const commit = (upTo: number): void => send({ kind: "committed", run: 1, upTo, fence: fence.number });
  function hear(message: WorkerMessage): void {
    if (message.kind === "step-failed") return ended.reject(new RangeError(message.error.message));
    if (message.kind === "loaded") {
      return send({ kind: "start", run: 1, start: {
        agent: "claims", job: "j" as JobId, uid: "a".repeat(32) as JobUid, input: { order: "seven" },
        epoch: 1, fence: fence.number, log: [],
      } });
    }
    if (message.kind !== "agent") return;
    const said = message.payload as FromAgent;
    if (said.kind === "not-begun" || said.kind === "not-dispatched") {
      refused.push(said);
      // The owner's time goes on.
      fence.extendUntil(workers.threadsNowMs() + 60_000);
      return said.kind === "not-dispatched" ? grant(2) : commit(0);
    }
    if (said.kind !== "op") return;
    commit(said.n);
    if (said.op.kind === "want-tool") {
      fence.replace();
      grant(said.n);
    }
    if (said.op.kind === "completed" || said.op.kind === "failed") ended.resolve(said.op);
  }
  expect(await ended.promise).toEqual({ kind: "completed", output: `5 ${EFFECT}` });
  expect(refused).toMatchObject([{ kind: "not-begun" }, { kind: "not-dispatched", call: "pay#1" }]);
  worker.terminate();
  await exited.promise;
});
