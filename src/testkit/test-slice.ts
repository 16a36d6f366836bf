// Owns: what a test cluster needs of a slice: its archive, which is pushed like any other, and a way to evaluate its
// module anew for each instance, because instances in threads share nothing either.
import type { Random } from "../base/random.ts";
import type { Clock } from "../env/clock.ts";

/** What the module of one instance sees of the world. */
export interface SliceSurroundings {
  readonly clock: Clock;
  readonly random: Random;
  /** The only environment variables it sees. */
  readonly variables: Readonly<Record<string, string>>;
  print(stream: "stdout" | "stderr", text: string): void;
  /** Ends the instance's worker. */
  exit(exitCode: number): void;
}

/** A slice for test clusters; `buildSlices` and `inlineSlice` make it. */
export interface TestSlice {
  /** Its coordinates, `group:name:version`. */
  readonly artifact: string;
  readonly archive: Uint8Array;
  /** Its module, evaluated for one instance: the default export is the slice. */
  evaluate(surroundings: SliceSurroundings): unknown;
}
