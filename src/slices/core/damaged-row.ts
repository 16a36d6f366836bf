// Owns: reading rows of which one may be damaged: it must not hide all the others.
// Does not own: saying so; the nodes that follow the rows log it.
import { AetherError } from "../../base/errors.ts";

export function isDamage(thrown: unknown): thrown is AetherError {
  return thrown instanceof AetherError && thrown.code === "E_DATA_CORRUPT";
}

/** What a row says, or undefined when it is damaged. */
export function readUndamaged<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (!isDamage(error)) throw error;
    // ignored: the nodes have said it in their logs.
    return undefined;
  }
}
