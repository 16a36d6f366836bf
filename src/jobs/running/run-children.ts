// Owns: the children of ONE running job: asking whether each that its code wants can be started, and that the code
// gets their ends. Does not own: what is found out (child-starts.ts), what is appended (core/life).
import type { Clock } from "../../env/clock.ts";
import type { ChildQuestion } from "./child-starts.ts";
import type { CallName } from "../core/ids.ts";
import type { JobId } from "../../base/ids.ts";
import type { WantChild } from "../core/life/children.ts";
import type { ChildAnswer, Plan } from "../core/run/plan.ts";
import type { RunBatch } from "../core/run/run-batch.ts";
import type { RunWaits } from "../core/run/run-waits.ts";
import type { JobView } from "../ports.ts";

export interface RunChildrenPorts {
  answer(question: ChildQuestion, signal: AbortSignal): Promise<ChildAnswer>;
  childIdOf(call: CallName): JobId;
  view(): JobView;
  /** There is something to append. */
  readonly onAnswer: () => void;
  readonly signal: AbortSignal;
}

export class RunChildren {
  private readonly clock: Clock;
  private readonly ports: RunChildrenPorts;
  private readonly batch: RunBatch;
  private readonly waits: RunWaits;
  private readonly asking = new Set<number>();
  /** The store has just not taken an append with children. */
  private isAgain = false;

  constructor(clock: Clock, ports: RunChildrenPorts, { batch, waits }: {
    readonly batch: RunBatch; readonly waits: RunWaits;
  }) {
    this.clock = clock;
    this.ports = ports;
    this.batch = batch;
    this.waits = waits;
  }

  /** The code wants a child: one that the log has is waited for, another one is asked about. */
  want(n: number, want: WantChild, dueMs: number | undefined): void {
    const child = this.batch.childOf(want.call);
    if (child === undefined) return void this.ask(n, want);
    const due = dueMs === undefined ? {} : { dueMs };
    this.waits.openChild(want.call, { ...child, ...due }, this.clock.wallMs());
  }

  /** The plan is in the store, and what it starts has begun. */
  started({ childStarts }: Plan): void {
    if (childStarts.length > 0) this.isAgain = false;
    for (const { job, want: { call, isDetached, untilMs } } of childStarts) {
      const due = untilMs === undefined ? {} : { dueMs: untilMs };
      this.waits.openChild(call, { job, isDetached, ...due }, this.clock.wallMs());
    }
  }

  /** The store did not take them as they were: another one has the id, or what they were to run is gone. */
  reconsider(): void {
    this.isAgain = true;
    this.batch.forgetChildAnswers();
    for (const { n, want } of this.batch.childrenWanted) void this.ask(n, want);
  }

  private async ask(n: number, want: WantChild): Promise<void> {
    if (this.asking.has(n)) return;
    this.asking.add(n);
    const { ports, isAgain } = this;
    try {
      const started = this.batch.childrenBefore(n);
      const question = { parent: ports.view(), want, child: ports.childIdOf(want.call), started, isAgain };
      const answer = await ports.answer(question, ports.signal);
      this.batch.answerChild(n, answer);
      ports.onAnswer();
    } catch {
      // ignored: nobody owns the job here any more.
    } finally {
      this.asking.delete(n);
    }
  }
}
