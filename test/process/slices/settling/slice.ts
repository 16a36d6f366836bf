// An agent that pays and ships once each: of a payment its tool can find out whether it was made, of a parcel nobody
// can but a person.
import { defineAgent, defineSignal, defineTool } from "aether/slice";
import { z } from "zod";

const place = z.object({ url: z.string() });

const pay = defineTool({
  name: "pay",
  input: place,
  output: z.object({ receipt: z.string() }),
  effect: "once",
  execute: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/pay/${effectId}`, { method: "POST" });
    return { receipt: await answer.text() };
  },
  reconcile: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/pay/${effectId}`);
    if (!answer.ok) return { status: "not-done", final: true };
    return { status: "done", result: { receipt: await answer.text() } };
  },
});

const ship = defineTool({
  name: "ship",
  input: place,
  output: z.object({ parcel: z.string() }),
  effect: "once",
  execute: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/ship/${effectId}`, { method: "POST" });
    return { parcel: await answer.text() };
  },
});

const go = defineSignal("go", z.object({}));

export default defineAgent({
  name: "settling",
  input: place,
  output: z.object({ receipt: z.string(), parcel: z.string() }),
  tools: { pay, ship },
  signals: [go],
  run: async (job, input) => {
    await job.waitFor(go, { timeout: "1 h" });
    const { receipt } = await job.tools.pay(input);
    const { parcel } = await job.tools.ship(input);
    return { receipt, parcel };
  },
});
