// Owns: what ONE plan has so far, and what follows from its events for the job: its account, its children, its cancel.
// Does not own: which events these are (plan-calls.ts, plan-maker.ts).
import { accountAfter, NOTHING, plus, shortUnit, type Account, type Amount } from "../budget/account.ts";
import { shortText } from "../budget/amounts.ts";
import type { CallName } from "../ids.ts";
import { noteChild, type Child } from "../life/children.ts";
import { cancelAfter, type CancelFacts } from "../life/deadline.ts";
import { blobOf, type JobEvent } from "../log/event.ts";
import type { JobError } from "../rows.ts";
import { isOpen, type LedgerPlace } from "../tools/ledger.ts";
import type { ToolRow } from "../tools/tool-row.ts";
import type { Costly, PlanState, Starved } from "./plan.ts";

/** As the code hears of a cancel anywhere, see worker/agent-run.ts. */
const CANCELLED: JobError = { name: "JobCancelled", message: "the job was cancelled" };

type RefusalCode = "E_INVALID" | "E_NONDETERMINISM" | "E_CONFIG" | "E_TOO_LARGE";

export class PlanDraft {
  readonly events: JobEvent[] = [];
  readonly refused: { n: number; error: JobError }[] = [];
  readonly starved: Map<number, Starved>;
  readonly stepsOpen: Set<CallName>;
  readonly children: Map<CallName, Child>;
  account: Account | undefined;
  cancel: CancelFacts;
  /** Of the events: payloads that are stored apart. */
  blobs = 0;
  private readonly seq: number;
  private readonly epoch: number;

  constructor({ seq, account, starved, stepsOpen, children, cancel }: PlanState, epoch: number) {
    this.seq = seq;
    this.epoch = epoch;
    this.starved = new Map(starved);
    this.stepsOpen = new Set(stepsOpen);
    this.children = new Map(children);
    this.account = account;
    this.cancel = cancel;
  }

  /** Where the next event stands. */
  get place(): LedgerPlace {
    return { seq: this.seq + this.events.length + 1, epoch: this.epoch };
  }

  /** `held`: what the call of the event has reserved so far. */
  push(event: JobEvent, held?: Amount): void {
    this.events.push(event);
    if (blobOf(event) !== undefined) this.blobs += 1;
    const ofChild = "call" in event ? this.children.get(event.call)?.reserved : undefined;
    this.account = accountAfter(this.account, event, held ?? ofChild ?? NOTHING);
    noteChild(this.children, event);
    this.cancel = cancelAfter(this.cancel, event);
  }

  refuse(n: number, code: RefusalCode, message: string): void {
    this.refused.push({ n, error: { name: "AetherError", code, message } });
  }

  refuseAsCancelled(n: number): void {
    this.refused.push({ n, error: CANCELLED });
  }

  /** With steps that may be run by now as if they were reserved. */
  get spendable(): Account | undefined {
    const { account, stepsOpen } = this;
    if (account === undefined || stepsOpen.size === 0) return account;
    return { ...account, reserved: plus(account.reserved, { steps: stepsOpen.size }) };
  }

  /**
   * Whether the budget does not suffice: then the operation waits for more, unless the job is to end. `row`: of a call,
   * which is not left while its outcome is not known.
   */
  isShort({ n, op }: { readonly n: number; readonly op: Costly }, wanted: Amount, row?: ToolRow): boolean {
    const account = this.spendable;
    const unit = account && shortUnit(account, wanted);
    if (account === undefined || unit === undefined) return false;
    const isLeft = this.cancel.isCancelled && !(row !== undefined && isOpen(row));
    if (isLeft) this.refuseAsCancelled(n);
    else this.starved.set(n, { op, why: shortText(op.call, wanted, { account, unit }) });
    return true;
  }
}
