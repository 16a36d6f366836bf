// Owns: when the steps of ONE run begin, and running them. Does not own: which steps there are, and what becomes of
// what they answer (agent-run.ts).
import type { CallName } from "../core/ids.ts";
import { AheadWindow } from "./ahead-window.ts";
import { completedStep, failedCall, type Asked, type Ready } from "./given.ts";
import { jobErrorOf } from "./payload.ts";

type AskedStep = Extract<Asked, { readonly kind: "step" }>;

export interface StepGatesPorts {
  /** Whether what was granted under this fence may be done at this very moment. */
  readonly mayAct: (fence: number) => boolean;
  /** Aborts when the run has nothing to do any more. */
  readonly signal: AbortSignal;
  /** Steps may begin by their operations, and the fence is down. */
  readonly onHeldUp: () => void;
  readonly onAnswer: (ready: Ready) => void;
  readonly wallMs: () => number;
}

interface GatedStep {
  readonly asked: AskedStep;
  /** Begins once everything up to this operation is committed. */
  readonly needs: number;
}

export class StepGates {
  private readonly ports: StepGatesPorts;
  private readonly ahead = new AheadWindow();
  private gated: GatedStep[] = [];
  private running = 0;
  private isRunning = false;
  private committed = 0;
  /** Under which steps begin. */
  private fence: number;
  /** It was down. */
  private isHeldUp = false;
  private isClosed = false;

  constructor(ports: StepGatesPorts, fence: number) {
    this.ports = ports;
    this.fence = fence;
  }

  /** Whether what calls right now is a step: none of its calls would be there in replay. */
  get isInsideStep(): boolean {
    return this.isRunning;
  }

  /** Whether a step runs, or is to begin. */
  get isBusy(): boolean {
    return this.running > 0 || this.gated.length > 0;
  }

  /** The node is told of operation `n`, with so many bytes. */
  told(n: number, bytes: number): void {
    this.ahead.add(n, bytes);
  }

  /** All operations up to `n` are in the store. */
  commit(n: number, fence: number): void {
    this.committed = Math.max(this.committed, n);
    this.fence = fence;
    this.isHeldUp = false;
    this.ahead.commit(n);
    this.open();
  }

  /** Begins once everything up to operation `last` is committed, or nearly so. */
  add(asked: AskedStep, last: number): void {
    if (this.isClosed) return;
    this.gated.push({ asked, needs: asked.isRead ? this.ahead.needed(last) : last });
    this.open();
  }

  /** Those that have not begun begin only if somebody waits for them. */
  keepOnly(isWanted: (call: CallName) => boolean): void {
    this.gated = this.gated.filter(({ asked }) => isWanted(asked.call));
  }

  /** None begins any more. */
  close(): void {
    this.isClosed = true;
    this.gated = [];
  }

  private open(): void {
    const open = this.gated.filter(({ needs }) => needs <= this.committed);
    if (open.length === 0 || this.isHeldUp) return;
    // A process that stood still may wake when the job is another node's.
    if (!this.ports.mayAct(this.fence)) {
      this.isHeldUp = true;
      return this.ports.onHeldUp();
    }
    this.gated = this.gated.filter(({ needs }) => needs > this.committed);
    for (const { asked } of open) void this.run(asked);
  }

  private async run({ call, run }: AskedStep): Promise<void> {
    this.running += 1;
    const { wallMs, onAnswer } = this.ports;
    const beginMs = wallMs();
    let ready: Ready;
    try {
      ready = completedStep(call, await this.enter(run));
    } catch (thrown) {
      ready = failedCall(call, jobErrorOf(thrown));
    }
    this.running -= 1;
    onAnswer(withDuration(ready, Math.max(0, wallMs() - beginMs)));
  }

  private enter(run: AskedStep["run"]): unknown {
    this.isRunning = true;
    try {
      return run({ signal: this.ports.signal });
    } finally {
      this.isRunning = false;
    }
  }
}

function withDuration(ready: Ready, tookMs: number): Ready {
  const { op } = ready;
  const isStep = op?.kind === "step-completed" || op?.kind === "step-failed";
  return isStep ? { ...ready, op: { tookMs, ...op } } : ready;
}
