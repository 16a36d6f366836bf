// Owns: telling customers. Hears of orders by the topic, and of each of them at least once: what was sent is noted
// under a key of its own, so that twice is once.
import { defineSlice } from "aether/slice";
import { z } from "zod";
import { notifications } from "../contracts/notifications.ts";

export default defineSlice({
  contract: notifications,
  on: { "order-changed": "notify" },
  methods: {
    notify: async ({ id, status, totalCents }, ctx) => {
      const text = `order ${id} is ${status}, ${(totalCents / 100).toFixed(2)}`;
      await ctx.kv.put(`sent/${id}/${status}`, text);
      ctx.log.info("customer told", { id, status });
      return {};
    },
    sent: async (_input, ctx) => {
      const { entries } = await ctx.kv.list({ prefix: "sent/" });
      return { texts: entries.map(({ value }) => z.string().parse(value)) };
    },
  },
});
