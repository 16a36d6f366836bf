// Owns: a handler that does nothing, so that a benchmark measures the way to it and back.
import { defineContract, defineSlice, method } from "aether/slice";
import { z } from "zod";

const text = z.object({ text: z.string() });

export default defineSlice({
  contract: defineContract("lone", { echo: method({ input: text, output: text, effect: "read" }) }),
  methods: { echo: (input) => input },
});
