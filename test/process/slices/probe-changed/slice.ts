import { defineContract, defineSlice, method } from "aether/slice";
import { z } from "zod";

/** Other content under the coordinates of the slice beside it. */
export default defineSlice({
  contract: defineContract("probe", {
    where: method({ input: z.object({}), output: z.object({ pid: z.int() }), effect: "read" }),
  }),
  methods: { where: () => ({ pid: 0 }) },
});
