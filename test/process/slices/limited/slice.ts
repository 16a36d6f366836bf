// Agents whose calls and jobs have limits of the whole cluster. What they do is told to a server of the test.
import { defineAgent, defineContract, defineSlice, defineTool } from "aether/slice";
import { z } from "zod";

const inputSchema = z.object({ url: z.string(), calls: z.int().optional() });

const search = defineTool({
  name: "search",
  input: z.object({ url: z.string() }),
  output: z.string(),
  effect: "read",
  rate: { perSecond: 10 },
  execute: async ({ url }) => (await fetch(url, { method: "POST" })).text(),
});

const crowd = defineTool({
  name: "crowd",
  input: z.object({ url: z.string() }),
  output: z.string(),
  effect: "idempotent",
  maxConcurrent: 2,
  execute: async ({ url }, { signal }) => (await fetch(url, { method: "POST", signal })).text(),
});

const crowding = defineAgent({
  name: "crowding",
  input: inputSchema,
  output: z.int(),
  tools: { crowd },
  run: async (job, { url, calls = 1 }) => {
    const beside = await job.all({
      one: (branch) => branch.tools.crowd({ url: `${url}/crowded` }),
      other: (branch) => branch.tools.crowd({ url: `${url}/crowded` }),
    });
    for (let call = 2; call < calls; call++) await job.tools.crowd({ url: `${url}/crowded` });
    return calls - 2 + Object.keys(beside).length;
  },
});

const searching = defineAgent({
  name: "searching",
  input: inputSchema,
  output: z.int(),
  tools: { search },
  run: async (job, { url, calls = 1 }) => {
    for (let call = 0; call < calls; call++) await job.tools.search({ url: `${url}/searched` });
    return calls;
  },
});

const lonely = defineAgent({
  name: "lonely",
  input: inputSchema,
  output: z.string(),
  concurrency: 2,
  run: async (job, { url }) => {
    await job.step("enter", async () => (await fetch(`${url}/entered`, { method: "POST" })).text());
    return await job.step("leave", async () => (await fetch(`${url}/left`, { method: "POST" })).text());
  },
});

const agents = [searching, crowding, lonely];

export default defineSlice({ contract: defineContract("limited", {}), methods: {}, agents });
