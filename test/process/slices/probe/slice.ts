import { setTimeout as sleep } from "node:timers/promises";
import { defineSlice } from "aether/slice";
import { probe } from "./contract.ts";

export default defineSlice({
  contract: probe,
  methods: {
    where: () => ({ pid: process.pid }),
    linger: async ({ ms }) => {
      await sleep(ms);
      return { pid: process.pid };
    },
    change: async ({ ms }) => {
      await sleep(ms);
      return { pid: process.pid };
    },
    fail: ({ message }) => {
      throw new RangeError(message);
    },
    exit: () => process.exit(7),
    spin: () => {
      for (;;);
    },
  },
});
