// Owns: durations counted in fixed buckets, so that those of all nodes can be added up and still tell percentiles.
// Bucket k holds (0.05·γ^(k-1), 0.05·γ^k] milliseconds with γ = 1.1; bucket 0 all that is shorter, the last one all
// that is longer. A percentile is told as the middle of its bucket: at most 5 % off, from 0.05 ms to 16 minutes.
import { AetherError } from "./errors.ts";

/** How far off a percentile may be, as a part of itself. */
export const HISTOGRAM_ERROR_MAX = 0.05;

const LOWEST_MS = 0.05;
const GAMMA = 1.1;
const LOG_GAMMA = Math.log(GAMMA);
/** The middle of a bucket, as a part of its upper bound: as far off from one bound as from the other. */
const MIDDLE = 2 / (1 + GAMMA);
export const HISTOGRAM_BUCKETS = 178;
/** Gap and count of every bucket, each in up to 5 bytes, and the sum. */
export const HISTOGRAM_BYTES_MAX = 8 + HISTOGRAM_BUCKETS * (1 + 5);
const COUNT_MAX = 2 ** 32 - 1;

export class Histogram {
  private readonly counts = new Uint32Array(HISTOGRAM_BUCKETS);
  private total = 0;
  private sum = 0;
  /** Only buckets of this range may hold something: loops go no further. */
  private lowest = HISTOGRAM_BUCKETS;
  private highest = -1;

  get count(): number {
    return this.total;
  }

  get sumMs(): number {
    return this.sum;
  }

  /** Counts one duration. On every hot path: no allocation. */
  add(ms: number): void {
    const bucket = bucketOf(ms);
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    this.widen(bucket, bucket);
    this.total += 1;
    if (ms > 0) this.sum += ms;
  }

  merge(other: Histogram): void {
    for (let bucket = other.lowest; bucket <= other.highest; bucket++) {
      this.counts[bucket] = (this.counts[bucket] ?? 0) + (other.counts[bucket] ?? 0);
    }
    this.widen(other.lowest, other.highest);
    this.total += other.total;
    this.sum += other.sum;
  }

  /** The value that the part `q` (0 to 1) of all does not exceed; undefined when nothing was counted. */
  percentile(q: number): number | undefined {
    if (this.total === 0) return undefined;
    const rank = Math.max(1, Math.ceil(q * this.total));
    let seen = 0;
    for (let bucket = this.lowest; bucket <= this.highest; bucket++) {
      seen += this.counts[bucket] ?? 0;
      if (seen >= rank) return boundMs(bucket) * (bucket === 0 ? 1 : MIDDLE);
    }
    return boundMs(HISTOGRAM_BUCKETS - 1);
  }

  private widen(from: number, to: number): void {
    if (from < this.lowest) this.lowest = from;
    if (to > this.highest) this.highest = to;
  }

  /** Buckets that hold something, by their upper bound. */
  buckets(): readonly { readonly upToMs: number; readonly count: number }[] {
    const found: { readonly upToMs: number; readonly count: number }[] = [];
    for (let bucket = this.lowest; bucket <= this.highest; bucket++) {
      const count = this.counts[bucket] ?? 0;
      if (count > 0) found.push({ upToMs: boundMs(bucket), count });
    }
    return found;
  }

  /** The sum as a float, then for each bucket that holds something how many are skipped before it, and its count. */
  encode(): Uint8Array {
    const bytes = new Uint8Array(HISTOGRAM_BYTES_MAX);
    new DataView(bytes.buffer).setFloat64(0, this.sum);
    let at = 8;
    let next = 0;
    for (let bucket = this.lowest; bucket <= this.highest; bucket++) {
      const count = this.counts[bucket] ?? 0;
      if (count === 0) continue;
      at = writeVarint(bytes, at, bucket - next);
      at = writeVarint(bytes, at, count);
      next = bucket + 1;
    }
    return bytes.slice(0, at);
  }

  /** @throws AetherError E_INVALID for bytes that `encode` cannot have made */
  static decode(bytes: Uint8Array): Histogram {
    if (bytes.byteLength < 8 || bytes.byteLength > HISTOGRAM_BYTES_MAX) throw garbled("its length");
    const histogram = new Histogram();
    const sum = new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0);
    if (!Number.isFinite(sum) || sum < 0) throw garbled("its sum");
    const numbers = readVarints(bytes, 8);
    if (numbers.length % 2 !== 0) throw garbled("a bucket without a count");
    let bucket = 0;
    for (let at = 0; at < numbers.length; at += 2) {
      const count = numbers[at + 1] ?? 0;
      bucket += numbers[at] ?? 0;
      if (bucket >= HISTOGRAM_BUCKETS || count === 0) throw garbled("a bucket that is not there");
      histogram.counts[bucket] = count;
      histogram.widen(bucket, bucket);
      histogram.total += count;
      bucket += 1;
    }
    histogram.sum = sum;
    return histogram;
  }
}

/** What may be longer than its bucket's bound by the error of a logarithm is told as exactly as it is. */
function bucketOf(ms: number): number {
  // Also for what is no number: a clock that jumps must not take the node down.
  if (!(ms > LOWEST_MS)) return 0;
  return Math.min(HISTOGRAM_BUCKETS - 1, Math.ceil(Math.log(ms / LOWEST_MS) / LOG_GAMMA));
}

function boundMs(bucket: number): number {
  return LOWEST_MS * GAMMA ** bucket;
}

function writeVarint(bytes: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= 0x80) {
    bytes[at++] = (rest % 0x80) + 0x80;
    rest = Math.floor(rest / 0x80);
  }
  bytes[at++] = rest;
  return at;
}

function readVarints(bytes: Uint8Array, start: number): readonly number[] {
  const numbers: number[] = [];
  let value = 0;
  let factor = 1;
  for (const byte of bytes.subarray(start)) {
    value += (byte % 0x80) * factor;
    if (value > COUNT_MAX) throw garbled("a count");
    if (byte >= 0x80) {
      factor *= 0x80;
      if (factor > COUNT_MAX) throw garbled("a count");
    } else {
      numbers.push(value);
      value = 0;
      factor = 1;
    }
  }
  if (factor !== 1) throw garbled("its end");
  return numbers;
}

function garbled(what: string): AetherError {
  return new AetherError("E_INVALID", `these bytes are no histogram: ${what} is wrong`);
}
