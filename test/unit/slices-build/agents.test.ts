// Owns: from the source of an agent to what the manifest says of it.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { defineAgent } from "../../../src/sdk/agent.ts";
import { defineContract, method } from "../../../src/sdk/contract.ts";
import { defineSignal } from "../../../src/sdk/signal.ts";
import { defineSlice } from "../../../src/sdk/slice.ts";
import { defineTool } from "../../../src/sdk/tool.ts";
import { buildSlice } from "../../../src/slices/build/build-slice.ts";
import { describeSlice } from "../../../src/slices/build/describe-slice.ts";
import { decodeArchive } from "../../../src/slices/core/archive.ts";

const AGENT = `
import { z } from "zod";
import { defineAgent, defineSignal, defineTool } from "aether/slice";
const refund = defineTool({
  name: "refund", input: z.object({ cents: z.int().default(1) }), output: z.string(), effect: "once", timeoutMs: 2000,
  execute: (_input, { effectId }) => effectId,
  reconcile: () => ({ status: "unknown" }),
});
const approved = defineSignal("approved", z.object({ by: z.string() }));
export default defineAgent({
  name: "claims", input: z.object({ order: z.string() }), output: z.boolean(), tools: { pay: refund },
  signals: [approved], labels: { zone: "a" }, concurrency: 3,
  run: async (job, { order }) => (await job.tools.pay({})) === order,
});
`;

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "aether-agent-test-"));
  await writeFile(join(directory, "slice.ts"), AGENT);
  await writeFile(join(directory, "aether.json"), JSON.stringify({ artifact: "demo:claims", version: "1.0.0" }));
});
afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

const answer = defineAgent({
  name: "answer", input: z.void(), output: z.number(), run: () => 42,
});
const echo = defineContract("echo", { say: method({ input: z.string(), output: z.string() }) });

describe("a package whose default export is an agent", () => {
  test("is a slice without methods, and its manifest says what the agent takes and does", async () => {
    const built = await buildSlice({ directory });
    const { manifest } = decodeArchive(built.archive);
    expect(manifest).toMatchObject({ artifact: "demo:claims:1.0.0", slice: "claims", methods: {} });
    expect(manifest.agents).toEqual({
      claims: {
        input: expect.objectContaining({ properties: { order: { type: "string" } }, required: ["order"] }) as unknown,
        output: expect.objectContaining({ type: "boolean" }) as unknown,
        tools: { refund: { effect: "once", timeoutMs: 2_000, hasReconcile: true } },
        signals: { approved: expect.objectContaining({ required: ["by"] }) as unknown },
        labels: { zone: "a" },
        concurrency: 3,
      },
    });
  });
});

describe("a slice with agents", () => {
  test("has both methods and agents in its manifest", () => {
    const slice = defineSlice({ contract: echo, agents: [answer], methods: { say: (text) => text } });
    expect(describeSlice(slice)).toMatchObject({
      kind: "described",
      description: { slice: "echo", methods: { say: {} }, agents: { answer: { tools: {}, signals: {} } } },
    });
  });

  test.each([
    ["two agents of one name", [answer, answer], /two agents named "answer"/],
    ["something else", [{ ...answer, kind: "agent" }], /not made by `defineAgent`/],
    ["a tool that was made by hand", [{ ...answer, tools: { pay: { name: "pay" } } }], /not made by `defineTool`/],
    ["no code", [{ ...answer, run: 1 }], /not a function/],
  ])("is refused when its agents are %s", (_what, agents, reason) => {
    const slice = { ...defineSlice({ contract: echo, methods: { say: (text) => text } }), agents };
    const described = describeSlice(slice);
    expect(described).toMatchObject({ kind: "refused", reason: expect.stringMatching(reason) as unknown });
  });
});

describe("what cannot be defined", () => {
  const tool = { name: "t", input: z.string(), output: z.string(), execute: (text: string) => text } as const;

  test.each([
    ["a tool whose name is no name", () => defineTool({ ...tool, name: "a b", effect: "read" }), /name of a tool/],
    ["a tool without time", () => defineTool({ ...tool, effect: "read", timeoutMs: 0 }), /timeoutMs 0; use 1 to/],
    ["a tool that is asked for nothing",
      () => defineTool({ ...tool, effect: "read", reconcile: () => ({ status: "unknown" }) }), /leave out reconcile/],
    ["a settle time that is none", () => defineTool({
      ...tool, effect: "once", settleMs: -1, reconcile: () => ({ status: "unknown" }),
    }), /settleMs -1/],
    ["a settle time without a reconcile", () => defineTool({ ...tool, effect: "once", settleMs: 1 }), /add reconcile/],
    ["a tool that lets nothing be under way", () => defineTool({ ...tool, effect: "read", maxConcurrent: 0 }),
      /maxConcurrent 0/],
    ["a tool without calls per second", () => defineTool({ ...tool, effect: "read", rate: { perSecond: 0 } }), /rate 0/],
    ["a tool with a burst of none",
      () => defineTool({ ...tool, effect: "read", rate: { perSecond: 1, burst: 0 } }), /burst 0; use perSecond/],
    ["a signal whose name is no name", () => defineSignal("", z.string()), /name of a signal/],
    ["an agent whose name is no name", () => defineAgent({ ...answer, name: "1" }), /name of an agent/],
    ["an agent for no job at once", () => defineAgent({ ...answer, concurrency: 0 }), /concurrency 0; use 1 to/],
    ["an agent with a label that is none", () => defineAgent({ ...answer, labels: { "A B": "" } }), /label that no/],
    ["an agent with one tool twice", () => {
      const once = defineTool({ ...tool, effect: "once" });
      return defineAgent({ ...answer, tools: { a: once, b: once }, run: () => 1 });
    }, /two tools named "t"/],
    ["an agent with 65 signals", () => {
      const signals = Array.from({ length: 65 }, (_, at) => defineSignal(`s${at}`, z.string()));
      return defineAgent({ ...answer, signals });
    }, /65 signals; 64 is the limit/],
  ])("%s is refused with the reason", (_what, define, reason) => {
    expect(define).toThrow(expect.objectContaining({
      code: "E_INVALID", message: expect.stringMatching(reason) as unknown,
    }));
  });
});
