// Owns: agents whose steps and calls do nothing, so that a benchmark measures what they cost. What they answer shows
// that each was there. Those that take the time do so for people only: nothing that they do depends on it.
import { defineAgent, defineContract, defineSignal, defineSlice, defineTool } from "aether/slice";
import { z } from "zod";

const go = defineSignal("go", z.null());

const pay = defineTool({
  name: "pay",
  input: z.object({ number: z.int() }),
  output: z.int(),
  effect: "once",
  execute: ({ number }) => number,
});

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const steps = defineAgent({
  name: "steps",
  input: z.object({ steps: z.int(), effect: z.enum(["barrier", "read"]), stepMs: z.int().default(0) }),
  output: z.object({ sum: z.int() }),
  run: async (job, { steps: count, effect, stepMs }) => {
    const options = effect === "read" ? { effect: "read" as const } : {};
    let sum = 0;
    for (let at = 1; at <= count; at++) {
      sum += await job.step(`step ${at}`, async () => {
        if (stepMs > 0) await pause(stepMs);
        return at;
      }, options);
    }
    return { sum };
  },
});

const payer = defineAgent({
  name: "payer",
  input: z.object({ calls: z.int() }),
  output: z.object({ sum: z.int() }),
  tools: { pay },
  run: async (job, { calls }) => {
    let sum = 0;
    for (let number = 1; number <= calls; number++) sum += await job.tools.pay({ number });
    return { sum };
  },
});

/** What a recorded step costs where the log has so many events: the mean of some, one after the other. */
const marks = defineAgent({
  name: "marks",
  input: z.object({ events: z.array(z.int()), steps: z.int() }),
  output: z.object({ stepMs: z.array(z.number()) }),
  run: async (job, { events, steps: count }) => {
    const stepMs: number[] = [];
    let done = 0;
    for (const mark of events) {
      for (; done < mark; done++) await job.step(`fill ${done}`, () => done, { effect: "read" });
      // Everything before it is stored when it begins.
      await job.step(`begin ${mark}`, () => mark);
      const startMs = performance.now();
      for (let at = 0; at < count; at++) await job.step(`measured ${mark} ${at}`, () => at);
      stepMs.push((performance.now() - startMs) / count);
      done += count + 1;
    }
    return { stepMs };
  },
});

/** Once it is let go its code runs anew, from its log, up to there. */
const long = defineAgent({
  name: "long",
  input: z.object({ steps: z.int() }),
  output: z.object({ sum: z.int(), replayMs: z.number() }),
  signals: [go],
  run: async (job, { steps: count }) => {
    const startMs = performance.now();
    let sum = 0;
    for (let at = 1; at <= count; at++) sum += await job.step(`step ${at}`, () => at, { effect: "read" });
    await job.waitFor(go);
    return { sum, replayMs: performance.now() - startMs };
  },
});

const holder = defineAgent({
  name: "holder",
  input: z.object({ runs: z.boolean() }),
  output: z.null(),
  signals: [go],
  run: async (job, { runs }) => {
    const dropped = ({ signal }: { readonly signal: AbortSignal }): Promise<unknown> =>
      new Promise((resolve) => signal.addEventListener("abort", resolve));
    if (runs) await job.step("hold", dropped);
    await job.waitFor(go);
    return null;
  },
});

const contract = defineContract("steps", {});

export default defineSlice({ contract, agents: [steps, payer, marks, long, holder], methods: {} });
