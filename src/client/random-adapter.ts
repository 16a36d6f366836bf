// Owns: the seed of a client's randomness, which only spreads its reconnects, and names that nobody else has.
import { randomInt, randomUUID } from "node:crypto";
import { SeededRandom, type Random } from "../base/random.ts";

const SEEDS = 2 ** 32;

export function createClientRandom(): Random {
  return new SeededRandom(randomInt(SEEDS));
}

/** An idempotency key for something that its caller gave none. */
export function newRequestKey(): string {
  return randomUUID();
}
