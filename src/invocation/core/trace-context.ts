// Owns: W3C trace context (level 1) of calls: reading what came, and the context of the next hop.
// Does not own: its way through frames and workers, exporting spans.
import type { Random } from "../../base/random.ts";

export interface TraceContext {
  /** 32 hexadecimal digits, the same on every hop. */
  readonly traceId: string;
  /** 16 hexadecimal digits: the hop. */
  readonly spanId: string;
  /** 2 hexadecimal digits; bit 0 says that somebody records this trace. */
  readonly flags: string;
}

const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const TRACEPARENT_LENGTH_MAX = 256;
const NOT_RECORDED = "00";

/** Undefined for what is none: as the standard wants it, that counts as absent. */
export function parseTraceparent(text: string | undefined): TraceContext | undefined {
  if (text === undefined || text.length > TRACEPARENT_LENGTH_MAX) return undefined;
  const [, version, traceId, spanId, flags, rest] = TRACEPARENT.exec(text) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  // A later version may say more behind; this one may not.
  return version === "00" && rest !== undefined ? undefined : { traceId, spanId, flags };
}

export function formatTraceparent({ traceId, spanId, flags }: TraceContext): string {
  return `00-${traceId}-${spanId}-${flags}`;
}

const WORD = 2 ** 32;

/**
 * Ids of hops and traces that begin here: a random part of this process, then a count. Drawing each anew would cost a
 * call more than everything else here.
 */
export class HopIds {
  private readonly process: string;
  private count: number;

  constructor(random: Random) {
    // Never all zeros, which would be no id.
    this.process = `${hex(1 + random.below(WORD - 1))}${hex(random.below(WORD))}`;
    this.count = random.below(WORD);
  }

  /** The context of a hop that `parent` caused; without one a trace begins. */
  next(parent: TraceContext | undefined): TraceContext {
    this.count = (this.count + 1) % WORD;
    const spanId = `${this.process.slice(0, 8)}${hex(this.count)}`;
    return { traceId: `${this.process}${spanId}`, flags: NOT_RECORDED, ...parent, spanId };
  }
}

function hex(word: number): string {
  return word.toString(16).padStart(8, "0");
}
