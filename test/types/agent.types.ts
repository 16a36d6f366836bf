// Owns: what must and must not compile for people who write agents. Never executed: `tsc` is the test.
import { z } from "zod";
import {
  defineAgent, defineContract, defineSignal, defineSlice, defineTool, method, notDone, openAi, scripted, secret,
  type Agent, type Job, type LlmMessage, type Tool,
} from "../../src/sdk/index.ts";

const refund = defineTool({
  name: "refund",
  input: z.object({ order: z.string(), cents: z.number().default(1) }),
  output: z.object({ refund: z.string(), note: z.string().default("") }),
  effect: "once",
  execute: async ({ order, cents }, { effectId, signal, assertOwner }) => {
    // Output side of the input schema: the default has been filled in.
    const amount: number = cents;
    assertOwner();
    if (signal.aborted) throw notDone(signal.reason);
    // Input side of the output schema: `note` may be left out.
    return { refund: `${effectId} ${order} ${amount}` };
  },
  reconcile: async (_input, { effectId }) =>
    effectId === "" ? { status: "not-done", final: true } : { status: "done", result: { refund: effectId } },
});
const lookup = defineTool({
  name: "look-up", input: z.string(), output: z.number(), effect: "read", execute: (text) => text.length,
});
const documents = defineSignal("documents", z.object({ url: z.string() }));

const audit = defineAgent({
  name: "audit",
  input: z.object({ order: z.string(), depth: z.number().default(1) }),
  output: z.object({ by: z.string().default("nobody") }),
  schedules: {
    nightly: { cron: "0 3 * * *", input: { order: "all" }, overlap: "allow" },
    // @ts-expect-error the input is not the agent's
    weekly: { cron: "0 3 * * SUN", input: { order: 7 } },
  },
  run: (job, { depth }) => ({ by: `${job.id} ${depth}` }),
});

export const claims = defineAgent({
  name: "claims",
  input: z.object({ order: z.string(), retries: z.number().default(3) }),
  output: z.object({ paid: z.boolean(), note: z.string().default("") }),
  tools: { refund, lookup },
  signals: [documents],
  run: async (job, { order, retries }) => {
    const cents: number = await job.step("load", () => 42);
    const length: number = await job.step("read", async ({ signal }) => (signal.aborted ? 0 : 1), { effect: "read" });
    await job.sleep("cool off", "2 days");
    await job.sleep("a moment", 500);
    const found = await job.waitFor(documents, { timeout: "7 days" });
    if (found === undefined) return { paid: false };
    const url: string = found.url;
    const paid = await job.tools.refund({ order, cents }, { key: order });
    const note: string = paid.note;
    const { a, b } = await job.all({
      a: (branch) => branch.tools.lookup(url),
      b: async (branch) => {
        const made = await branch.step("b", () => branch.uuid());
        return `${made} ${job.now() + branch.random() + length + retries}`;
      },
    });
    const audited = await job.child(audit, { order }, { name: "audit it", key: order, timeout: "1 day" });
    const by: string = audited.by;
    const started = await job.child(audit, { order, depth: 2 }, { detached: true });
    const child: string = started.id;
    const unknown: unknown = await job.child("audit", { order });
    job.emit({ by, child, unknown });
    // @ts-expect-error what the agent takes is known
    await job.child(audit, { order: 1 });
    // @ts-expect-error nobody waits for a detached child
    await job.child(audit, { order }, { detached: true, timeout: 5 });
    const sum: number = a;
    const text: string = b;
    job.emit({ text, sum, job: job.id });
    // Input side of the output schema: `note` may be left out.
    return { paid: note === "" };
  },
});

export const isAgent: Agent = claims;
export const isTool: Tool = refund;
export const name: "claims" = claims.name;

const empty = defineContract("empty", { ping: method({ input: z.void(), output: z.void() }) });
export const withAgents = defineSlice({ contract: empty, agents: [claims], methods: { ping: () => undefined } });

// Parts of an agent can be written apart from it.
export const apart = async (job: Job<{ refund: typeof refund }>): Promise<string> =>
  (await job.tools.refund({ order: "1" })).refund;

export const noAgent = defineSlice({
  contract: empty,
  // @ts-expect-error a tool is no agent
  agents: [refund],
  methods: { ping: () => undefined },
});

// @ts-expect-error not an effect of a tool
defineTool({ name: "x", input: z.string(), output: z.string(), effect: "write", execute: () => "" });

// @ts-expect-error a tool says what its effect is
defineTool({ name: "x", input: z.string(), output: z.string(), execute: () => "" });

defineTool({
  name: "x",
  input: z.string(),
  output: z.string(),
  effect: "read",
  // @ts-expect-error the output is text
  execute: () => 1,
});

defineAgent({
  name: "wrong",
  input: z.object({}),
  output: z.object({ ok: z.boolean() }),
  tools: { refund },
  signals: [documents],
  // @ts-expect-error `ok` is a boolean
  run: async () => ({ ok: "yes" }),
});

defineAgent({
  name: "wrong",
  input: z.object({ order: z.string() }),
  output: z.object({}),
  tools: { refund },
  run: async (job, input) => {
    // @ts-expect-error wrong input of a tool
    await job.tools.refund({ order: 1 });
    // @ts-expect-error a tool that it does not have
    await job.tools.charge({});
    // @ts-expect-error the input has no such field
    void input.nope;
    const found = await job.waitFor(documents);
    // @ts-expect-error nothing came in time
    void found.url;
    // @ts-expect-error the only other kind of step
    await job.step("x", () => 1, { effect: "once" });
    return {};
  },
});

export const asking = defineAgent({
  name: "asking",
  input: z.object({}),
  output: z.string(),
  tools: { refund, lookup },
  models: { fast: openAi({ model: "small", apiKey: secret("key") }), slow: scripted(["yes"]) },
  run: async (job) => {
    const plain = await job.llm("slow", { prompt: "how many?" });
    const nothing: undefined = plain.output;
    const none: readonly never[] = plain.toolCalls;
    const judged = await job.llm("fast", { prompt: "refund?", output: z.object({ cents: z.int().default(0) }) });
    const cents: number = judged.output.cents;
    const messages: LlmMessage[] = [{ role: "user", text: `${String(nothing)} ${none.length} ${cents}` }];
    const asked = await job.llm("fast", { messages, tools: [refund, lookup] });
    for (const call of asked.toolCalls) {
      if (call.name === "refund") await job.tools.refund(call.input, { key: call.id });
      else await job.tools.lookup(call.input);
      // @ts-expect-error there is no such tool
      void (call.name === "charge");
    }
    // @ts-expect-error a model that it does not have
    await job.llm("other", { prompt: "x" });
    // @ts-expect-error a key is a reference, no text
    openAi({ model: "small", apiKey: "sk-1" });
    return asked.text;
  },
});
