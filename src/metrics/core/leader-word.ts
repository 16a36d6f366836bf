// Owns: what a leader says beside numbers, and the shape of it on the wire: which alerts stand, and what has happened
// that only it can know. It travels with the snapshot, so that whoever leads next goes on where the last one was.
// Does not own: what becomes an alert (alerts), what an event says (events/core).
import { parseDraft, type SaidEvent } from "../events/core/event.ts";
import { amountOf, booleanOf, countOf, garbled, listOf, textOf } from "./metrics-wire.ts";

export const ALERT_PHASES = ["pending", "firing"] as const;
export type AlertPhase = (typeof ALERT_PHASES)[number];

/** One alert that stands, or is about to. */
export interface AlertMark {
  /** The name of its rule. */
  readonly rule: string;
  /** Like `node/n1`, `slice/orders`, `cluster`. */
  readonly subject: string;
  readonly phase: AlertPhase;
  /** Pending: for how long it has been so. Firing: for how long it has not been so any more. */
  readonly heldMs: number;
  /** For how long nothing has been known of it. */
  readonly unknownMs: number;
  /** Wall time at which it began: to be pending, or to fire. */
  readonly sinceMs: number;
  /** What was measured last. */
  readonly value: number;
}

/** What a webhook is to be told, and was not yet. */
export interface AlertNotice extends Pick<AlertMark, "rule" | "subject" | "sinceMs" | "value"> {
  readonly hook: string;
  readonly kind: "fired" | "cleared";
  /** Wall time at which it happened. */
  readonly atMs: number;
  /** Times that it could not be told. */
  readonly tries: number;
}

export interface LeaderWord {
  readonly alerts: readonly AlertMark[];
  /** Oldest first. */
  readonly said: readonly SaidEvent[];
  readonly notices: readonly AlertNotice[];
}

/** What a snapshot carries; who says it and who hears it is wired by the node. */
export interface LeaderWordPort {
  /** Called once a second on the node that leads, when it has made its snapshot. */
  speak(epoch: number): LeaderWord;
  /** What the leader said. */
  hear(word: LeaderWord): void;
}

/** Alerts that stand or are about to, of all rules. */
export const ALERT_MARKS_MAX = 200;
const SAID_MAX = 64;
const NOTICES_MAX = 1_000;
const SUBJECT_LENGTH_MAX = 200;
const NAME_LENGTH_MAX = 64;
/** Of one mark or event, those of newer builds included. */
const PARTS_MAX = 32;

export function wordToWire({ alerts, said, notices }: LeaderWord): unknown {
  return [
    alerts.map((mark) => [
      mark.rule, mark.subject, ALERT_PHASES.indexOf(mark.phase), mark.heldMs, mark.unknownMs, mark.sinceMs, mark.value,
    ]),
    said.map(({ epoch, seq, atMs, draft: { kind, fields } }) => [epoch, seq, atMs, kind, fields]),
    notices.map(({ hook, kind, rule, subject, sinceMs, value, atMs, tries }) =>
      [hook, kind === "fired", rule, subject, sinceMs, value, atMs, tries]),
  ];
}

/** Events of kinds that this build does not know are left out. @throws AetherError E_INVALID */
export function wordOf(value: unknown): LeaderWord {
  const [alerts, said, notices = []] = listOf(value, PARTS_MAX);
  return {
    alerts: listOf(alerts, ALERT_MARKS_MAX).map(markOf),
    said: listOf(said, SAID_MAX).flatMap((one) => saidOf(one) ?? []),
    notices: listOf(notices, NOTICES_MAX).map(noticeOf),
  };
}

function markOf(value: unknown): AlertMark {
  const [rule, subject, tag, heldMs, unknownMs, sinceMs, measured] = listOf(value, PARTS_MAX);
  const phase = ALERT_PHASES[countOf(tag)];
  if (phase === undefined) throw garbled();
  return {
    rule: textOf(rule, NAME_LENGTH_MAX),
    subject: textOf(subject, SUBJECT_LENGTH_MAX),
    phase,
    heldMs: amountOf(heldMs),
    unknownMs: amountOf(unknownMs),
    sinceMs: amountOf(sinceMs),
    value: amountOf(measured),
  };
}

function noticeOf(value: unknown): AlertNotice {
  const [hook, isFired, rule, subject, sinceMs, measured, atMs, tries] = listOf(value, PARTS_MAX);
  return {
    hook: textOf(hook, NAME_LENGTH_MAX),
    kind: booleanOf(isFired) ? "fired" : "cleared",
    rule: textOf(rule, NAME_LENGTH_MAX),
    subject: textOf(subject, SUBJECT_LENGTH_MAX),
    sinceMs: amountOf(sinceMs),
    value: amountOf(measured),
    atMs: amountOf(atMs),
    tries: countOf(tries),
  };
}

function saidOf(value: unknown): SaidEvent | undefined {
  const [epoch, seq, atMs, kind, fields] = listOf(value, PARTS_MAX);
  const draft = parseDraft(kind, fields);
  return draft && { epoch: countOf(epoch), seq: countOf(seq), atMs: amountOf(atMs), draft };
}
