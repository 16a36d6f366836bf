// Owns: one event: its parts, and how it is made from what a rule or a node says.
import type { NodeId } from "../../../base/ids.ts";
import {
  EVENT_KINDS, type EventArea, type EventFields, type EventKind, type KindSpec, type Severity,
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

export type EventPlace = StorePlace | NodePlace;

export interface ClusterEvent {
  /** `REVISION.INDEX`, or `NODE.INCARNATION.SEQ`. */
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

export function makeEvent(draft: EventDraft, place: EventPlace, atMs: number): ClusterEvent {
  const spec: KindSpec = EVENT_KINDS[draft.kind];
  const fields: Readonly<Record<string, string | number | boolean>> = draft.fields;
  return {
    id: idOf(place),
    kind: draft.kind,
    area: spec.area,
    severity: spec.severity,
    atMs,
    subject: spec.about === undefined ? "cluster" : `${subjectOf(spec.about)}/${fields[spec.about]}`,
    text: spec.says.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(fields[name] ?? "")),
    fields,
  };
}

function idOf(place: EventPlace): string {
  if (place.kind === "store") return `${place.revision}.${place.index}`;
  return `${place.node}.${place.incarnation}.${place.seq}`;
}

/** Who says something is a node as well. */
function subjectOf(field: string): string {
  return field === "by" ? "node" : field;
}
