// Owns: the last lines of every instance of one node, in memory, for a while also of those that have ended.
// Does not own: the node's log, into which every line goes as well.
import { KiB, MiB } from "../../base/units.ts";
import { LOG_FIELDS_BYTES_MAX } from "./worker-limits.ts";
import { toPlain } from "./plain-data.ts";
import type { LogLevel } from "./worker-protocol.ts";

/** Of one instance. */
export const LINES_KEPT_MAX = 500;
/** Of the lines of one instance: with the longest lines these are some thirty. */
export const LINES_BYTES_MAX = 256 * KiB;
/** Instances whose lines are kept although they have ended, when another begins: who asks why comes later. */
export const ENDED_KEPT_MAX = 50;
/** Lines in one answer. */
export const LINES_ANSWER_MAX = 1_000;
/** Bytes of the lines in one answer. */
const PAGE_BYTES_MAX = 1 * MiB;

export interface SliceLine {
  /** Wall time of this node, in milliseconds. */
  readonly atMs: number;
  readonly level: LogLevel;
  readonly text: string;
  /** What was said beside the text, as in the node's log. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

export interface NumberedLine extends SliceLine {
  /** `{artifact}/{index}` */
  readonly instance: string;
  /** Grows over all lines of this node. */
  readonly number: number;
}

export interface LinesQuery {
  /** Only lines with higher numbers. */
  readonly after: number;
  /** The latest so many of them. */
  readonly linesMax: number;
}

export interface LinesPage {
  /** In the order in which they came. */
  readonly lines: readonly NumberedLine[];
  /** What to ask after next. */
  readonly last: number;
  /** False when lines after `after` are not among these: they were too many. */
  readonly isComplete: boolean;
}

interface Kept {
  readonly slice: string;
  readonly lines: { readonly line: NumberedLine; readonly bytes: number }[];
  bytes: number;
  /** Number of the latest line that is not kept any more. */
  droppedLast: number;
}

/** What a line takes beside its text. */
const LINE_BYTES = 64;

export class RecentLines {
  private readonly instances = new Map<string, Kept>();
  private readonly isHosted: (instance: string) => boolean;
  private last = 0;
  /** Number of the latest line of an instance that was forgotten. */
  private forgottenLast = 0;

  /** Instances that are not hosted any more are forgotten one day. */
  constructor(isHosted: (instance: string) => boolean) {
    this.isHosted = isHosted;
  }

  add(slice: string, instance: string, line: SliceLine): void {
    const kept = this.keptOf(slice, instance);
    const bytes = bytesOf(line);
    kept.lines.push({ line: { ...line, instance, number: ++this.last }, bytes });
    kept.bytes += bytes;
    while (kept.lines.length > LINES_KEPT_MAX || (kept.bytes > LINES_BYTES_MAX && kept.lines.length > 1)) {
      const dropped = kept.lines.shift();
      if (dropped === undefined) return;
      kept.bytes -= dropped.bytes;
      kept.droppedLast = dropped.line.number;
    }
  }

  has(slice: string): boolean {
    return [...this.instances.values()].some((kept) => kept.slice === slice);
  }

  read(slice: string, { after, linesMax }: LinesQuery): LinesPage {
    const found: Kept["lines"][number][] = [];
    let isComplete = this.forgottenLast <= after;
    for (const kept of this.instances.values()) {
      if (kept.slice !== slice) continue;
      if (kept.droppedLast > after) isComplete = false;
      found.push(...kept.lines.filter(({ line }) => line.number > after));
    }
    found.sort((a, b) => a.line.number - b.line.number);
    const taken = lastThatFit(found.map(({ bytes }) => bytes), linesMax);
    const lines = found.slice(found.length - taken).map(({ line }) => line);
    return { lines, last: this.last, isComplete: isComplete && taken === found.length };
  }

  private keptOf(slice: string, instance: string): Kept {
    const found = this.instances.get(instance);
    if (found !== undefined) return found;
    this.forgetEnded();
    const kept: Kept = { slice, lines: [], bytes: 0, droppedLast: 0 };
    this.instances.set(instance, kept);
    return kept;
  }

  /** Those that have said nothing for the longest. */
  private forgetEnded(): void {
    const ended = [...this.instances]
      .filter(([instance]) => !this.isHosted(instance))
      .map(([instance, { lines }]) => ({ instance, last: lines.at(-1)?.line.number ?? 0 }))
      .sort((a, b) => a.last - b.last);
    for (const { instance, last } of ended.slice(0, Math.max(0, ended.length - ENDED_KEPT_MAX))) {
      this.forgottenLast = Math.max(this.forgottenLast, last);
      this.instances.delete(instance);
    }
  }
}

/** The lines of several nodes as one answer: by the clocks of the nodes, the latest that fit into it. */
export function mergeLines<T extends SliceLine>(pages: readonly (readonly T[])[], linesMax: number): readonly T[] {
  const all = pages.flat().sort((a, b) => a.atMs - b.atMs);
  return all.slice(all.length - lastThatFit(all.map(bytesOf), linesMax));
}

function lastThatFit(sizes: readonly number[], linesMax: number): number {
  let bytes = 0;
  let taken = 0;
  for (const size of sizes.toReversed()) {
    bytes += size;
    if (taken === linesMax || (bytes > PAGE_BYTES_MAX && taken > 0)) break;
    taken += 1;
  }
  return taken;
}

function bytesOf({ text, fields }: SliceLine): number {
  // Fields that are larger than this do not come from a worker of ours.
  const plain = fields === undefined ? undefined : toPlain(fields, 4 * LOG_FIELDS_BYTES_MAX);
  return LINE_BYTES + text.length + (plain?.kind === "plain" ? plain.bytes : 0);
}
