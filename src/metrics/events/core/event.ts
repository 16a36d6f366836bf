// Owns: one event: its parts, and how it is made from what a rule or a node says.
import { unreachable } from "../../../base/assert.ts";
import type { NodeId } from "../../../base/ids.ts";
import {
  EVENT_KINDS, type EventArea, type EventFields, type EventKind, type KindSpec, isEventKind, SEVERITIES, type Severity,
} from "./event-kinds.ts";

/** What happened, before it has a place among other events. `atMs`: when, where what it was read from says it. */
export type EventDraft = {
  [K in EventKind]: { readonly kind: K; readonly fields: EventFields<K>; readonly atMs?: number };
}[EventKind];

/** Read from the store: the same on every node. `index` counts the events of one revision. */
export interface StorePlace {
  readonly kind: "store";
  readonly revision: number;
  readonly index: number;
}

/** Said by one node, as its `seq`th in this life; the first is 1. */
export interface NodePlace {
  readonly kind: "node";
  readonly node: NodeId;
  readonly incarnation: number;
  readonly seq: number;
}

/** Said by the leader of an epoch, as its `seq`th; the first is 1. The same on every node that has heard it. */
export interface LeaderPlace {
  readonly kind: "leader";
  readonly epoch: number;
  readonly seq: number;
}

/** What a leader said, as it is told to others. */
export interface SaidEvent extends Omit<LeaderPlace, "kind"> {
  /** Wall time of the node that said it. */
  readonly atMs: number;
  readonly draft: EventDraft;
}

export type EventPlace = StorePlace | NodePlace | LeaderPlace;

export interface ClusterEvent {
  /** `REVISION.INDEX`, `NODE.INCARNATION.SEQ`, or `@EPOCH.SEQ` of what a leader said. */
  readonly id: string;
  readonly kind: EventKind;
  readonly area: EventArea;
  readonly severity: Severity;
  /** Wall time. */
  readonly atMs: number;
  /** What it is about, like `node/n1`; `cluster`. */
  readonly subject: string;
  /** For people. */
  readonly text: string;
  readonly fields: Readonly<Record<string, string | number | boolean>>;
}

/** A text that some slice, agent or person has made up is not carried without end. */
export const EVENT_TEXT_CHARS_MAX = 500;

/** The same with its texts cut where they are too long, which they hardly ever are. */
export function shortened(draft: EventDraft): EventDraft {
  const isLong = Object.values(draft.fields).some(isLongText);
  if (!isLong) return draft;
  const fields = Object.entries(draft.fields).map(([name, value]) => {
    return [name, isLongText(value) ? value.slice(0, EVENT_TEXT_CHARS_MAX) : value] as const;
  });
  return { ...draft, fields: Object.fromEntries(fields) } as EventDraft;
}

function isLongText(value: string | number | boolean): value is string {
  return typeof value === "string" && value.length > EVENT_TEXT_CHARS_MAX;
}

const TYPES = { text: "string", number: "number", flag: "boolean" } as const;

/** What another node says has happened; undefined for what this build does not know, or no node can have said. */
export function parseDraft(kind: unknown, fields: unknown): EventDraft | undefined {
  if (typeof kind !== "string" || !isEventKind(kind) || typeof fields !== "object" || fields === null) return undefined;
  const spec: KindSpec = EVENT_KINDS[kind];
  const read = Object.entries(spec.fields).map(([name, { type, isOptional }]) => {
    const value: unknown = Object.hasOwn(fields, name) ? (fields as Record<string, unknown>)[name] : undefined;
    const isRight = typeof value === TYPES[type] || (value === undefined && isOptional === true);
    return { name, value, isRight };
  });
  if (!read.every(({ isRight }) => isRight)) return undefined;
  const present = read.filter(({ value }) => value !== undefined).map(({ name, value }) => [name, value] as const);
  return { kind, fields: Object.fromEntries(present) } as EventDraft;
}

export function makeEvent(draft: EventDraft, place: EventPlace, atMs: number): ClusterEvent {
  const spec: KindSpec = EVENT_KINDS[draft.kind];
  const fields: Readonly<Record<string, string | number | boolean>> = draft.fields;
  return {
    id: idOf(place),
    kind: draft.kind,
    area: spec.area,
    severity: SEVERITIES.find((one) => one === fields["severity"]) ?? spec.severity,
    atMs,
    subject: spec.about === undefined ? "cluster" : `${subjectOf(spec.about)}/${fields[spec.about]}`,
    text: spec.says.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(fields[name] ?? "")),
    fields,
  };
}

function idOf(place: EventPlace): string {
  switch (place.kind) {
    case "store":
      return `${place.revision}.${place.index}`;
    case "node":
      return `${place.node}.${place.incarnation}.${place.seq}`;
    case "leader":
      return `@${place.epoch}.${place.seq}`;
    default:
      return unreachable(place);
  }
}

/** Who says something is a node as well. */
function subjectOf(field: string): string {
  return field === "by" ? "node" : field;
}
