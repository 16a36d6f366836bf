// Agents that start jobs of each other. What they do outside is told to a server of the test, which may hold them.
import { defineAgent, defineContract, defineSlice, defineTool, isChildFailed, method } from "aether/slice";
import { z } from "zod";

const outsideSchema = z.object({ url: z.string() });

const count = defineTool({
  name: "count",
  input: z.object({ url: z.string(), what: z.string() }),
  output: z.string(),
  effect: "once",
  execute: async ({ url, what }, { effectId, signal }) => {
    const answer = await fetch(`${url}/${what}/${effectId}`, { method: "POST", signal });
    return await answer.text();
  },
  reconcile: async ({ url, what }, { effectId }) => {
    const answer = await fetch(`${url}/asked/${what}/${effectId}`);
    return answer.status === 200
      ? { status: "done", result: await answer.text() }
      : { status: "not-done", final: true };
  },
});

/** Is held by the test while its step runs; what it counts it counts once. */
const worker = defineAgent({
  name: "worker",
  input: outsideSchema.extend({ fails: z.boolean().default(false) }),
  output: z.object({ counted: z.string(), note: z.string().default("none") }),
  tools: { count },
  run: async (job, { url, fails }) => {
    await job.step("hold", async ({ signal }) => (await fetch(`${url}/child/${job.id}`, { signal })).text());
    if (fails) throw Object.assign(new Error("out of luck"), { code: "E_LUCK" });
    return { counted: await job.tools.count({ url, what: "count" }) };
  },
});

/** Stays busy beside its child, until the test lets it go. */
const parent = defineAgent({
  name: "parent",
  input: outsideSchema,
  output: z.object({ counted: z.string(), note: z.string(), held: z.string() }),
  run: async (job, { url }) => {
    const { child, held } = await job.all({
      child: (branch) => branch.child(worker, { url }),
      held: (branch) => branch.step("hold", async () => (await fetch(`${url}/parent/${job.id}`)).text()),
    });
    return { ...child, held };
  },
});

/** Only waits for its child, and says what became of it. */
const patient = defineAgent({
  name: "patient",
  input: outsideSchema.extend({ agent: z.string(), fails: z.boolean(), isDetached: z.boolean() }),
  output: z.unknown(),
  run: async (job, { url, agent, fails, isDetached }) => {
    try {
      if (isDetached) return await job.child(agent, { url, fails }, { detached: true });
      return await job.child(agent, { url, fails }, { name: "the child" });
    } catch (error) {
      if (job.signal.aborted) throw error;
      if (!isChildFailed(error)) return { refused: String(error), code: Reflect.get(Object(error), "code") };
      const { code, details: { status } } = error;
      return { code, status };
    }
  },
});

export default defineSlice({
  contract: defineContract("families", {
    hire: method({ input: outsideSchema, output: z.object({ id: z.string() }), effect: "idempotent" }),
  }),
  agents: [worker, parent, patient],
  methods: {
    hire: async ({ url }, ctx) => {
      const { id } = await ctx.agents.start(worker, { url });
      return { id };
    },
  },
});
