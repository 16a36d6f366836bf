// Owns: real randomness, from the operating system: identities and secrets of a cluster are made of it.
import { randomBytes, randomInt } from "node:crypto";
import type { Random } from "../base/random.ts";

const BYTES = 6;
const RANGE = 2 ** (8 * BYTES);

/** Every fork is as random as its parent. */
export function createRealRandom(): Random {
  const random: Random = {
    next: () => randomBytes(BYTES).readUIntBE(0, BYTES) / RANGE,
    below: (below) => randomInt(below),
    fork: () => random,
  };
  return random;
}
