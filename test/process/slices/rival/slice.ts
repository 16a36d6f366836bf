// Owns: a slice that wants a route of the example shop.
import { defineContract, defineSlice, method } from "aether/slice";
import { z } from "zod";

const rival = defineContract("rival", {
  sell: method({ input: z.object({}), output: z.object({}) }),
});

export default defineSlice({
  contract: rival,
  routes: { "POST /shop/orders": "sell" },
  methods: { sell: () => ({}) },
});
