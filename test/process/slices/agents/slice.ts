// Agents for tests of jobs on real nodes. What happens outside is told to a server of the test.
import { defineAgent, defineContract, defineSignal, defineSlice, defineTool } from "aether/slice";
import { z } from "zod";

const counting = defineAgent({
  name: "counting",
  input: z.object({ steps: z.int() }),
  output: z.object({ sum: z.int(), pids: z.array(z.int()) }),
  run: async (job, { steps }) => {
    let sum = 0;
    const pids: number[] = [];
    for (let at = 1; at <= steps; at++) {
      const pid = await job.step(`step ${at}`, () => process.pid);
      sum += at;
      pids.push(pid);
    }
    return { sum, pids };
  },
});

const outsideSchema = z.object({ url: z.string() });

const pay = defineTool({
  name: "pay",
  input: outsideSchema,
  output: z.object({ paid: z.string() }),
  effect: "once",
  execute: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/pay/${effectId}`, { method: "POST" });
    return { paid: await answer.text() };
  },
  reconcile: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/paid/${effectId}`);
    return answer.status === 200
      ? { status: "done", result: { paid: await answer.text() } }
      : { status: "not-done", final: true };
  },
});

const go = defineSignal("go", z.object({ by: z.string() }));

const paying = defineAgent({
  name: "paying",
  input: outsideSchema,
  output: z.object({ paid: z.string(), before: z.int(), after: z.int() }),
  tools: { pay },
  run: async (job, { url }) => {
    const before = await job.step("before", () => process.pid);
    const { paid } = await job.tools.pay({ url });
    const after = await job.step("after", () => process.pid);
    return { paid, before, after };
  },
});

const waiting = defineAgent({
  name: "waiting",
  input: z.object({ sleepMs: z.int() }),
  output: z.object({ by: z.string() }),
  signals: [go],
  maxDuration: "1 hour",
  run: async (job, { sleepMs }) => {
    await job.step("begin", () => process.pid);
    await job.sleep("nap", sleepMs);
    const told = await job.waitFor(go);
    return { by: told?.by ?? "nobody" };
  },
});

// Says how far it is while it works.
const telling = defineAgent({
  name: "telling",
  input: z.object({}),
  output: z.object({}),
  signals: [go],
  run: async (job) => {
    for (const part of ["first", "second"]) {
      await job.waitFor(go);
      await job.step(part, async () => {
        for (let at = 1; at <= 40; at++) {
          job.emit({ part, at });
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      });
    }
    return {};
  },
});

// Does something else each time it runs: it may not.
const fickle = defineAgent({
  name: "fickle",
  input: z.object({}),
  output: z.object({}),
  signals: [go],
  run: async (job) => {
    await job.step(`step ${performance.now()}`, () => process.pid);
    await job.waitFor(go);
    return {};
  },
});

export default defineSlice({
  contract: defineContract("agents", {}),
  agents: [counting, paying, waiting, telling, fickle],
  methods: {},
});
