// Owns: the keys and values that all systems are given, and what of them must be there afterwards.
import type { Target } from "./cluster.ts";

export const VALUE_BYTES = 256;
/** Keys that a client of a closed loop writes in turn. */
export const KEYS_PER_CLIENT = 64;
const KEYS_READ_BACK_MAX = 256;
const FILLING = "x".repeat(VALUE_BYTES);

export function clientKey(client: number, count: number): string {
  return `data/bench/${client}/${count % KEYS_PER_CLIENT}`;
}

export function numberedKey(number: number): string {
  return `data/bench/k${number}`;
}

/** 256 ASCII characters that no other write has: `tag` is unique. */
export function valueOf(tag: string): string {
  return tag + FILLING.slice(tag.length);
}

/** The last acknowledged value of each key, as long as each key has one writer. */
export class Expected {
  private readonly values = new Map<string, string>();
  private readonly lost: string[] = [];
  private checked = 0;

  /** Writes and remembers; when that fails nobody knows what the key holds. */
  async put(target: Target, client: number, key: string, value: string): Promise<void> {
    try {
      await target.put(client, key, value);
      this.values.set(key, value);
    } catch (error) {
      this.values.delete(key);
      throw error;
    }
  }

  /** Reads some keys, over all connections in turn, and compares. */
  async readBack(target: Target): Promise<void> {
    const step = Math.max(1, Math.floor(this.values.size / KEYS_READ_BACK_MAX));
    const sample = [...this.values].filter((_, index) => index % step === 0);
    await Promise.all(sample.map(async ([key, value], index) => {
      const found = await target.get(index, key);
      this.checked += 1;
      if (found !== value) this.lost.push(`${target.name}: ${key} holds ${found?.slice(0, 40) ?? "nothing"}`);
    }));
  }

  /** @throws Error when a value was not what had been acknowledged: such numbers are worth nothing. */
  verdict(): number {
    if (this.lost.length > 0) throw new Error(`acknowledged writes are not there: ${this.lost.slice(0, 3).join("; ")}`);
    return this.checked;
  }
}
