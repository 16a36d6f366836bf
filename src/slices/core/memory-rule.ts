// Owns: when the memory of an instance is too much. The engine's own limit is no fence: it ends the whole process when
// one large allocation does not fit, as the next table of a growing Map does. So that limit is far above what an
// instance may use, and what it uses is judged here: by its reports, and for one that reports nothing by what the whole
// process uses. Does not own: measuring (worker-thread-adapter.ts), asking (memory-guard.ts), ending a worker.
import { GiB, MiB, SECOND_MS } from "../../base/units.ts";

export interface MemoryReport {
  readonly heapUsedBytes: number;
  /** The heap with its free pages: what the process has for it. */
  readonly heapTotalBytes: number;
  /** Buffers, WebAssembly: what the engine does not limit at all. */
  readonly externalBytes: number;
  /** Whether all garbage had been collected before. */
  readonly isCollected: boolean;
}

/** Room between what an instance may use and where the engine ends it: the largest array fits twice. */
const ENGINE_HEADROOM_BYTES = 2 * GiB;
/** What an instance may use beside its heap: as much again, at least this. */
export const BESIDE_HEAP_BYTES_MIN = 64 * MiB;
/** Reports in a row above a limit, garbage not counted, before an instance is ended: a peak may pass. */
export const OVER_REPORTS_MAX = 2;
/** Time between two collections that are asked for: each stops the worker for a moment. */
const COLLECT_EVERY_MS = SECOND_MS;
/** Above this many times its limit nothing is waited for. */
const FAR_OVER = 1.5;

/** The limit of the engine for an instance that may use this much. */
export function engineHeapBytesMax(heapBytesMax: number): number {
  return heapBytesMax + ENGINE_HEADROOM_BYTES;
}

export function besideHeapBytesMax(heapBytesMax: number): number {
  return Math.max(heapBytesMax, BESIDE_HEAP_BYTES_MIN);
}

export type MemoryVerdict =
  | { readonly kind: "fine" }
  /** Perhaps only garbage: to be reported again without it. */
  | { readonly kind: "collect" }
  /** The first report above the limit in a row. */
  | { readonly kind: "warn"; readonly reason: string }
  | { readonly kind: "end"; readonly reason: string };

interface Excess {
  readonly times: number;
  readonly reason: string;
}

/** Judges the reports of one worker, one after the other. */
export class MemoryRule {
  private readonly heapBytesMax: number;
  private reportsOver = 0;
  private collectAgainMs = Number.NEGATIVE_INFINITY;

  constructor(heapBytesMax: number) {
    this.heapBytesMax = heapBytesMax;
  }

  judge(report: MemoryReport, nowMs: number): MemoryVerdict {
    const excess = this.findExcess(report);
    if (excess === undefined) {
      this.reportsOver = 0;
      return { kind: "fine" };
    }
    if (!report.isCollected) return this.askToCollect(nowMs);
    this.reportsOver += 1;
    const isEnough = this.reportsOver >= OVER_REPORTS_MAX || excess.times > FAR_OVER;
    return { kind: isEnough ? "end" : "warn", reason: excess.reason };
  }

  private askToCollect(nowMs: number): MemoryVerdict {
    if (nowMs < this.collectAgainMs) return { kind: "fine" };
    this.collectAgainMs = nowMs + COLLECT_EVERY_MS;
    return { kind: "collect" };
  }

  private findExcess({ heapUsedBytes, externalBytes }: MemoryReport): Excess | undefined {
    const beside = besideHeapBytesMax(this.heapBytesMax);
    const heapTimes = heapUsedBytes / this.heapBytesMax;
    const besideTimes = externalBytes / beside;
    if (heapTimes <= 1 && besideTimes <= 1) return undefined;
    const [what, used, limit] = heapTimes >= besideTimes
      ? ["heap", heapUsedBytes, this.heapBytesMax] as const
      : ["buffers beside its heap", externalBytes, beside] as const;
    const reason =
      `it uses ${mebibytes(used)} MiB of ${what}, where ${mebibytes(limit)} MiB are allowed; ` +
      "look for what it keeps, or raise heapBytesMax";
    return { times: Math.max(heapTimes, besideTimes), reason };
  }
}

/** A worker that has not answered since it was asked. */
export interface SilentWorker {
  readonly heapBytesMax: number;
  /** What the process used, beyond all reports, when it was asked. */
  readonly askedAtBytes: number;
  /** Looks since then. */
  readonly looks: number;
}

/** A worker silent for fewer looks may just be busy. */
export const SILENT_LOOKS_MIN = 2;
/** By how much the process must have grown, beyond all reports and what the heap of the suspect may take. */
export const UNEXPLAINED_BYTES_MAX = 256 * MiB;

/** The worker that most likely makes the process grow: the one silent for longest. Undefined: none is to blame. */
export function pickSuspect<W extends SilentWorker>(silent: readonly W[], processBytes: number): W | undefined {
  let suspect: W | undefined;
  for (const worker of silent) {
    const unexplained = processBytes - worker.askedAtBytes - worker.heapBytesMax;
    if (worker.looks < SILENT_LOOKS_MIN || unexplained <= UNEXPLAINED_BYTES_MAX) continue;
    if (suspect === undefined || worker.looks > suspect.looks) suspect = worker;
  }
  return suspect;
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / MiB);
}
