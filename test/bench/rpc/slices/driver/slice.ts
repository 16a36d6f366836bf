// Owns: the load: calls from inside a slice, as slices call each other.
import { defineSlice } from "aether/slice";
import { runClosedLoop } from "../../../closed-loop.ts";
import { driver, far, near } from "../contracts.ts";

export default defineSlice({
  contract: driver,
  uses: { near, far },
  methods: {
    drive: ({ target, text, ...loop }, ctx) => runClosedLoop(loop, () => ctx.uses[target].echo({ text })),
  },
});
