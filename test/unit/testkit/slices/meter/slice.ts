// Owns: a slice that looks at its world through the names that slices use for it.
import { setTimeout as sleep } from "node:timers/promises";
import { defineSlice } from "aether/slice";
import { z } from "zod";
import { meter } from "./contract.ts";

/** What ids and dice of slices are made with. */
const chance: { random(): number } = Math;
let count = 0;

export default defineSlice({
  contract: meter,
  config: z.object({ text: z.string().default("none") }),
  methods: {
    wait: async ({ delayMs }) => {
      let ticks = 0;
      const ticker = setInterval(() => ticks++, delayMs / 4);
      const startDateMs = Date.now();
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      const timeoutMs = Date.now() - startDateMs;
      const startMs = performance.now();
      await sleep(delayMs);
      const promiseMs = performance.now() - startMs;
      clearInterval(ticker);
      return { timeoutMs, promiseMs, ticks };
    },
    hang: () => new Promise<Record<string, never>>(() => undefined),
    look: (_input, ctx) => ({
      random: chance.random(),
      year: new Date().getFullYear(),
      variables: Object.keys(process.env).sort(),
      config: ctx.config.text,
    }),
    count: () => ({ count: ++count }),
    end: async ({ how }) => {
      if (how === "exit") process.exit(3);
      setTimeout(() => {
        throw new RangeError("nobody catches this");
      }, 5);
      await sleep(1_000);
      return {};
    },
    say: ({ text }, ctx) => {
      console.log("said %s", text);
      ctx.log.info("heard", { text });
      return {};
    },
    reach: async () => {
      try {
        await fetch("http://127.0.0.1:1/");
        return { code: "none" };
      } catch (error) {
        return { code: error instanceof Error && "code" in error ? String(error.code) : "other" };
      }
    },
  },
});
