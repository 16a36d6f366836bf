// Owns: alerts as people and programs see them.
import { unreachable } from "../../base/assert.ts";
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import type { AlertMark, AlertPhase } from "../../metrics/core/leader-word.ts";
import { alertRule, type AlertName, type AlertSeverity, type AlertUnit } from "./alert-rules.ts";

export interface AlertView {
  /** The same for as long as it stands. */
  readonly id: string;
  readonly alert: AlertName;
  readonly severity: AlertSeverity;
  readonly state: AlertPhase;
  /** Like `node/n1`, `slice/orders`, `method/orders.place`, `cluster`. */
  readonly subject: string;
  /** What was measured last. */
  readonly value: number;
  /** Wall time: since when it fires, or is about to. */
  readonly sinceMs: number;
  /** What is so, and what to do. */
  readonly text: string;
  readonly action: string;
}

export function viewAlert(mark: AlertMark & { readonly rule: AlertName }): AlertView {
  const { rule: alert, phase: state, subject, value, sinceMs } = mark;
  const { severity, unit, says, action } = alertRule(alert);
  const text = says.replace("{name}", subject.slice(subject.indexOf("/") + 1)).replace("{value}", amount(value, unit));
  return { id: alertId(mark), alert, severity, state, subject, value, sinceMs, text, action };
}

export function alertId({ rule, subject, sinceMs }: Pick<AlertMark, "rule" | "subject" | "sinceMs">): string {
  return `${rule}/${subject}/${Math.round(sinceMs)}`;
}

function amount(value: number, unit: AlertUnit): string {
  switch (unit) {
    case "ms":
      return duration(value);
    case "part":
      return `${Math.round(value * 100)} %`;
    case "per s":
      return `${Number(value.toFixed(1))} per second`;
    case "":
      return String(Math.round(value));
    default:
      return unreachable(unit);
  }
}

function duration(ms: number): string {
  if (ms < SECOND_MS) return `${Math.round(ms)} ms`;
  if (ms < 2 * MINUTE_MS) return `${Math.round(ms / SECOND_MS)} s`;
  return ms < 2 * HOUR_MS ? `${Math.round(ms / MINUTE_MS)} min` : `${Math.round(ms / HOUR_MS)} h`;
}
