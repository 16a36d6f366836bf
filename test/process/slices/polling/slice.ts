// An agent that continues as a new run again and again. What happens outside is told to a server of the test.
import { defineAgent, defineTool } from "aether/slice";
import { z } from "zod";

const note = defineTool({
  name: "note",
  input: z.object({ url: z.string(), run: z.int() }),
  output: z.string(),
  effect: "once",
  execute: async ({ url, run }, { effectId }) => await (await fetch(`${url}/note/${run}/${effectId}`)).text(),
  reconcile: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/noted/${effectId}`);
    if (answer.status !== 200) return { status: "not-done", final: true };
    return { status: "done", result: await answer.text() };
  },
});

const state = z.object({ url: z.string(), run: z.int(), runs: z.int() });

export default defineAgent({
  name: "polling",
  input: state,
  output: z.object({ runs: z.int() }),
  tools: { note },
  run: async (job, { url, run, runs }) => {
    await job.step("before", () => run);
    await job.tools.note({ url, run });
    if (run === runs) return { runs };
    return await job.continueAs({ url, run: run + 1, runs });
  },
});
