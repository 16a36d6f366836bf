// Owns: a handler that does nothing, so that a benchmark measures the way to it and back.
import { defineSlice } from "aether/slice";
import { near } from "../contracts.ts";

export default defineSlice({ contract: near, methods: { echo: (input) => input } });
