// Owns: the memory of a run: a hash over every event, equal for equal runs, and the last events for people.
import type { LogFields } from "../../env/telemetry.ts";

export interface TraceLine {
  readonly atMs: number;
  readonly kind: string;
  readonly node: string;
  /** Made into text only when somebody reads the line. */
  readonly detail: TraceDetail;
}

export type TraceDetail =
  | { readonly kind: "none" }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "log"; readonly fields: LogFields }
  | { readonly kind: "payload"; readonly from: string; readonly payload: Uint8Array };

export const NO_DETAIL: TraceDetail = { kind: "none" };

/** Enough to see how the last slots came about, small enough for thousands of runs. */
const LINES_MAX = 400;
const PRIME_A = 0x01000193;
const PRIME_B = 0x85ebca6b;

export class Trace {
  private low = 0x811c9dc5;
  private high = 0x9e3779b9;
  private readonly lines: (TraceLine | undefined)[] = new Array<TraceLine | undefined>(LINES_MAX);
  private nextLine = 0;
  private readonly listener: ((line: TraceLine) => void) | undefined;
  eventCount = 0;

  constructor(listener?: (line: TraceLine) => void) {
    this.listener = listener;
  }

  /** Adds one event to the hash. */
  mix(atMs: number, kind: string, node: string, checksum: number): void {
    this.eventCount += 1;
    this.mixNumber(Math.round(atMs * 1_000));
    this.mixNumber(checksum);
    this.mixText(kind);
    this.mixText(node);
  }

  note(atMs: number, kind: string, node: string, detail: TraceDetail): void {
    const line: TraceLine = { atMs, kind, node, detail };
    this.lines[this.nextLine % LINES_MAX] = line;
    this.nextLine += 1;
    this.listener?.(line);
  }

  get hash(): string {
    return (this.high >>> 0).toString(16).padStart(8, "0") + (this.low >>> 0).toString(16).padStart(8, "0");
  }

  lastLines(count: number): readonly TraceLine[] {
    const kept: TraceLine[] = [];
    for (let index = Math.max(0, this.nextLine - Math.min(count, LINES_MAX)); index < this.nextLine; index += 1) {
      const line = this.lines[index % LINES_MAX];
      if (line !== undefined) kept.push(line);
    }
    return kept;
  }

  private mixNumber(value: number): void {
    this.low = Math.imul(this.low ^ (value | 0), PRIME_A);
    this.high = Math.imul(this.high ^ (value | 0) ^ (this.low >>> 15), PRIME_B);
  }

  private mixText(text: string): void {
    for (let index = 0; index < text.length; index += 1) {
      this.low = Math.imul(this.low ^ text.charCodeAt(index), PRIME_A);
    }
    this.high = Math.imul(this.high ^ this.low, PRIME_B);
  }
}

/** One line of text; `describePayload` knows what the bytes of a message mean. */
export function formatTraceLine(line: TraceLine, describePayload: (payload: Uint8Array) => string): string {
  const head = `${line.atMs.toFixed(3).padStart(12)} ms  ${line.node.padEnd(6)} ${line.kind.padEnd(10)}`;
  switch (line.detail.kind) {
    case "none":
      return head;
    case "text":
      return `${head} ${line.detail.text}`;
    case "log":
      return `${head} ${JSON.stringify(line.detail.fields)}`;
    case "payload":
      return `${head} from ${line.detail.from}: ${describePayload(line.detail.payload)}`;
  }
}
