// Owns: the parser of flags that say how far back: `10 min`, `2h`.
import { InvalidArgumentError } from "commander";
import { toAetherError } from "../base/errors.ts";
import { parseDuration } from "../sdk/duration.ts";

/** In milliseconds. */
export function parseAge(text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    throw new InvalidArgumentError(toAetherError(error).message);
  }
}
