// Owns: the seed of a client's randomness, which only spreads its reconnects.
import { randomInt } from "node:crypto";
import { SeededRandom, type Random } from "../base/random.ts";

const SEEDS = 2 ** 32;

export function createClientRandom(): Random {
  return new SeededRandom(randomInt(SEEDS));
}
