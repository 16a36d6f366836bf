// Owns: all alerts that one judge has: those of the cluster on its leader, or those of a node on itself. Another judge
// goes on from its marks.
// L3  Marks that are given on mean the same to who takes them: nothing fires twice, and nothing is lost.
import { ALERT_MARKS_MAX, type AlertMark } from "../../metrics/core/leader-word.ts";
import { stepAlert, type AlertInput, type AlertLimits } from "./alert-machine.ts";
import { isAlertName, type AlertName, type Reading } from "./alert-rules.ts";

/** What one rule sees now. */
export interface RuleReadings {
  readonly name: AlertName;
  readonly limits: AlertLimits;
  /** Undefined: nothing is known of anything. */
  readonly readings: readonly Reading[] | undefined;
}

export interface AlertChange {
  readonly kind: "fired" | "cleared";
  /** As it fires, or as it was last. */
  readonly mark: AlertMark & { readonly rule: AlertName };
}

type KnownMark = AlertChange["mark"];

/** Of time that passes between two looks: a judge that stood still has not seen what was meanwhile. */
const PASSED_MS_MAX = 3_000;

export class AlertBook {
  private marks: ReadonlyMap<string, KnownMark> = new Map();
  private lookedMs: number | undefined;
  /** Alerts for which there was no room when they began. */
  left = 0;

  list(): readonly KnownMark[] {
    return [...this.marks.values()];
  }

  /** In the place of all that are here: who judged them until now says so. Rules of newer builds are left out. */
  adopt(marks: readonly AlertMark[], nowMs: number): void {
    const known = marks.flatMap((mark) => (isAlertName(mark.rule) ? [{ ...mark, rule: mark.rule }] : []));
    this.marks = new Map(known.map((mark) => [keyOf(mark), mark]));
    this.lookedMs = nowMs;
  }

  /** Marks of rules that are not among these are taken back: somebody has switched them off. */
  judge(rules: readonly RuleReadings[], { nowMs, wallMs }: { nowMs: number; wallMs: number }): readonly AlertChange[] {
    const passedMs = Math.min(PASSED_MS_MAX, nowMs - (this.lookedMs ?? nowMs));
    this.lookedMs = nowMs;
    const next = new Map<string, KnownMark>();
    const changes: AlertChange[] = [];
    const handled = new Set<string>();
    this.left = 0;
    const look = (rule: AlertName, subject: string, input: AlertInput, limits: AlertLimits): void => {
      const key = keyOf({ rule, subject });
      if (handled.has(key)) return;
      handled.add(key);
      const before = this.marks.get(key);
      const { state, change } = stepAlert(before, input, limits, { passedMs, wallMs });
      // Those that were here keep their place.
      if (state !== undefined && before === undefined && next.size + this.unhandled(handled) >= ALERT_MARKS_MAX) {
        this.left += 1;
        return;
      }
      if (state !== undefined) next.set(key, { rule, subject, ...state });
      const mark = next.get(key) ?? before;
      if (change !== undefined && mark !== undefined) changes.push({ kind: change, mark });
    };
    for (const { name, limits, readings } of rules) {
      for (const { subject, value } of readings ?? []) {
        look(name, subject, value === undefined ? { kind: "unknown" } : { kind: "value", value }, limits);
      }
      const rest: AlertInput = { kind: readings === undefined ? "unknown" : "gone" };
      for (const { rule, subject } of this.marks.values()) if (rule === name) look(rule, subject, rest, limits);
    }
    const ruled = new Set(rules.map(({ name }) => name));
    for (const mark of this.marks.values()) {
      if (!ruled.has(mark.rule) && mark.phase === "firing") changes.push({ kind: "cleared", mark });
    }
    this.marks = next;
    return changes;
  }

  private unhandled(handled: ReadonlySet<string>): number {
    let count = 0;
    for (const key of this.marks.keys()) if (!handled.has(key)) count += 1;
    return count;
  }
}

function keyOf({ rule, subject }: Pick<AlertMark, "rule" | "subject">): string {
  return `${rule} ${subject}`;
}
