// Agents whose values have many MiB.
import { defineAgent, defineContract, defineSignal, defineSlice } from "aether/slice";
import { z } from "zod";

const go = defineSignal("go", z.object({ text: z.string().default("") }));

/** Text of so many characters that does not say the same everywhere. */
function textOf(seed: string, length: number): string {
  return seed.repeat(Math.ceil(length / seed.length)).slice(0, length);
}

const carrying = defineAgent({
  name: "carrying",
  input: z.object({ length: z.int(), text: z.string().default("") }),
  output: z.object({ text: z.string(), pids: z.array(z.int()), inputLength: z.int(), toldLength: z.int() }),
  signals: [go],
  run: async (job, { length, text }) => {
    const first = await job.step("first", () => ({ text: textOf("first ", length), pid: process.pid }));
    const second = await job.step("second", () => ({ text: textOf("second ", length), pid: process.pid }));
    const told = await job.waitFor(go);
    const pid = await job.step("third", () => process.pid);
    return {
      text: first.text.slice(0, 6) + second.text, pids: [first.pid, second.pid, pid], inputLength: text.length,
      toldLength: told?.text.length ?? 0,
    };
  },
});

export default defineSlice({ contract: defineContract("payloads", {}), agents: [carrying], methods: {} });
