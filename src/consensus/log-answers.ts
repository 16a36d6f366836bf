// Owns: answers to nodes that ask for the log: at once from memory for the slots applied last, otherwise from the
// journal, one answer in a turn of the event loop, so that whoever is behind does not hold up the votes of others.
// Does not own: what is in the journal (journal.ts), which slots may be told (the replica).
import type { NodeId } from "../base/ids.ts";
import { KiB } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import type { Apply, LogRequest } from "./core/effects.ts";
import type { LogEntry } from "./core/message.ts";
import { RecentLog } from "./core/recent-log.ts";
import type { Journal } from "./journal.ts";

/**
 * A peer is answered with about this much: reading it from the journal here, and applying it there, must not hold up
 * the votes of others.
 */
const LOG_CHUNK_BYTES = 128 * KiB;

export interface LogAnswersPorts {
  readonly clock: Pick<Clock, "defer">;
  readonly journal: Pick<Journal, "readLog">;
  /** Once per answer. May be called outside a step. */
  send(to: NodeId, from: number, entries: readonly LogEntry[]): void;
  /** Runs what may throw. */
  guard(act: () => void): void;
}

export class LogAnswers {
  private readonly ports: LogAnswersPorts;
  private readonly recent = new RecentLog();
  /** What each peer waits for, in the order in which they get it. */
  private readonly waiting = new Map<NodeId, LogRequest>();
  private isTurnDue = false;

  constructor(ports: LogAnswersPorts) {
    this.ports = ports;
  }

  /** In the order of slots. */
  applied({ slot, outcome, contents }: Apply): void {
    this.recent.add({ slot, outcome, contents });
  }

  /** Whoever asks again before it was answered gets one answer, which begins where the lower question did. */
  ask({ to, from, below }: LogRequest): void {
    const entries = this.recent.read(from, LOG_CHUNK_BYTES, below);
    if (entries.length > 0) {
      this.ports.send(to, from, entries);
      return;
    }
    const before = this.waiting.get(to);
    const request = { to, from: Math.min(from, before?.from ?? from), below: Math.max(below, before?.below ?? below) };
    this.waiting.set(to, request);
    this.answerSoon();
  }

  close(): void {
    this.waiting.clear();
  }

  private answerSoon(): void {
    if (this.isTurnDue) return;
    this.isTurnDue = true;
    this.ports.clock.defer(() => {
      this.isTurnDue = false;
      this.ports.guard(() => this.answerNext());
    });
  }

  private answerNext(): void {
    const [request] = this.waiting.values();
    if (request === undefined) return;
    const { to, from, below } = request;
    this.waiting.delete(to);
    const entries = this.ports.journal.readLog(from, LOG_CHUNK_BYTES, below);
    if (entries.length > 0) this.ports.send(to, from, entries);
    if (this.waiting.size > 0) this.answerSoon();
  }
}
