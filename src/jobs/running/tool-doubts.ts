// Owns: calls of ONE run whose outcome nobody knows: asking their tools until the answer is to be believed, and which
// of them only a person can settle. Does not own: what an answer means (core/tools/reconcile.ts).
import type { Clock, Timer } from "../../env/clock.ts";
import type { Doubt } from "../core/run/plan.ts";
import type { EffectId } from "../core/ids.ts";
import type { Resolution } from "../core/log/event.ts";
import { onReconcile, onTakeOver } from "../core/tools/reconcile.ts";
import type { ToolRow } from "../core/tools/tool-row.ts";
import type { ReconcileAnswer } from "../core/worker/messages.ts";

export interface ToolDoubtsPorts {
  ask(doubt: Doubt): void;
  resolve(row: ToolRow, resolution: Resolution): void;
}

/** A tool that does not know after so many questions does not know. */
const QUESTIONS_MAX = 10;

interface Question {
  readonly doubt: Doubt;
  /** On this node's monotonic clock: since when the call is known to be lost. */
  readonly lostAtMs: number;
  askedAtMs: number;
  times: number;
  timer?: Timer;
}

export class ToolDoubts {
  readonly forPeople = new Set<EffectId>();
  private readonly clock: Clock;
  private readonly ports: ToolDoubtsPorts;
  private readonly questions = new Map<EffectId, Question>();

  constructor(env: { readonly clock: Clock }, ports: ToolDoubtsPorts) {
    this.clock = env.clock;
    this.ports = ports;
  }

  /** Calls that are asked about. */
  get asking(): number {
    return this.questions.size;
  }

  add(doubt: Doubt): void {
    const { effectId } = doubt.row;
    if (onTakeOver(doubt.row) !== "reconcile") return void this.forPeople.add(effectId);
    const nowMs = this.clock.nowMs();
    this.ask({ doubt, lostAtMs: nowMs, askedAtMs: nowMs, times: 0 });
  }

  answer(effectId: EffectId, answer: ReconcileAnswer): void {
    const question = this.questions.get(effectId);
    if (question === undefined) return;
    const { doubt: { row }, lostAtMs, askedAtMs, times } = question;
    const step = onReconcile(row, answer, { sinceLostMs: askedAtMs - lostAtMs, times });
    if (step.kind === "resolved") {
      this.questions.delete(effectId);
      return this.ports.resolve(row, step.resolution);
    }
    if (answer.kind === "unknown" && times >= QUESTIONS_MAX) {
      this.questions.delete(effectId);
      this.forPeople.add(effectId);
      return;
    }
    question.timer = this.clock.setTimer(step.inMs, () => this.ask(question));
  }

  /** Its outcome is known, or it was granted again. */
  forget(effectId: EffectId): void {
    this.questions.get(effectId)?.timer?.cancel();
    this.questions.delete(effectId);
    this.forPeople.delete(effectId);
  }

  close(): void {
    for (const { timer } of this.questions.values()) timer?.cancel();
    this.questions.clear();
  }

  private ask(question: Question): void {
    question.askedAtMs = this.clock.nowMs();
    question.times += 1;
    this.questions.set(question.doubt.row.effectId, question);
    this.ports.ask(question.doubt);
  }
}
