// Owns: which events there are, what each says, and the types that follow from that. The reference page, the check of
// what other nodes tell and the text for people are made from this one table.
// Does not own: when they happen (the rules beside this file; for jobs, jobs/core/flow/job-events.ts).

export const EVENT_AREAS = [
  "membership", "quorum", "leader", "deployment", "rollout", "control", "job", "stall", "alert", "events",
] as const;
export type EventArea = (typeof EVENT_AREAS)[number];

/** `warning`: degraded, or a person is waited for. `error`: something failed. */
export const SEVERITIES = ["info", "warning", "error"] as const;
export type Severity = (typeof SEVERITIES)[number];

/**
 * `store`: read from the rows of the store, on every node the same with the same id. `leader`: said by the node that
 * leads, and told to all: they have it with the same id. `node`: what one node sees, and only that node has.
 */
export type EventSourceKind = "store" | "leader" | "node";

interface Values {
  readonly text: string;
  readonly number: number;
  readonly flag: boolean;
}

export interface FieldSpec {
  readonly type: keyof Values;
  readonly doc: string;
  readonly isOptional?: true;
}

export interface KindSpec {
  readonly area: EventArea;
  readonly source: EventSourceKind;
  /** Of those that may be of several, the least; the field `severity` says which. */
  readonly severity: Severity;
  /** The field that names what it is about; absent: the cluster. */
  readonly about?: string;
  /** When it happens. */
  readonly doc: string;
  /** The line for people, with fields in braces. */
  readonly says: string;
  readonly fields: Readonly<Record<string, FieldSpec>>;
}

const text = <D extends string>(doc: D) => ({ type: "text", doc }) as const;
const number = <D extends string>(doc: D) => ({ type: "number", doc }) as const;
const flag = <D extends string>(doc: D) => ({ type: "flag", doc }) as const;
const maybe = <S extends FieldSpec>(spec: S) => ({ ...spec, isOptional: true }) as const;

const node = text("the node");
const slice = text("the slice");
const blueprint = text("the blueprint");
const placed = {
  slice, blueprint, node: text("the node that it is on"), artifact: text("what it runs"),
  instance: number("its number"), attempt: number("attempts to bring it up since it last served; the first is 1"),
} as const;
const turned = {
  slice, blueprint, from: text("the artifact that served before"), to: text("the artifact that is to serve"),
} as const;
const stalled = { by: text("the node that says so"), what: text("apply, runnable-job or unknown-effect") } as const;
const alert = {
  alert: text("its rule"), subject: text("what it is about, like node/n1"), severity: text("warning or error"),
} as const;
const job = { job: text("the job"), agent: text("its agent") } as const;

export const EVENT_KINDS = {
  "node.started": {
    area: "membership", source: "store", severity: "info", about: "node",
    doc: "A node's process has begun a new life.",
    says: "{node} has started (life {incarnation})",
    fields: { node, incarnation: number("grows with every start") },
  },
  "node.on-duty": {
    area: "membership", source: "store", severity: "info", about: "node",
    doc: "A node takes instances and calls.",
    says: "{node} is on duty",
    fields: { node },
  },
  "node.draining": {
    area: "membership", source: "store", severity: "info", about: "node",
    doc: "A node gives away what it has, because that was asked for or because its process ends.",
    says: "{node} is draining",
    fields: { node, isStopping: flag("its process ends") },
  },
  "node.drained": {
    area: "membership", source: "store", severity: "info", about: "node",
    doc: "A node has nothing any more.",
    says: "{node} is drained",
    fields: { node },
  },
  "node.gone": {
    area: "membership", source: "store", severity: "error", about: "node",
    doc: "A majority of voters did not meet the node for so long that others take its work.",
    says: "{node} is gone: others take its work",
    fields: { node },
  },
  "node.forgotten": {
    area: "membership", source: "store", severity: "info", about: "node",
    doc: "A node that was removed is not in the store any more.",
    says: "{node} is forgotten",
    fields: { node },
  },
  "node.drain-asked": {
    area: "membership", source: "store", severity: "info", about: "node",
    doc: "Somebody wants the node drained.",
    says: "{node} is to be drained",
    fields: { node },
  },
  "node.drain-called-off": {
    area: "membership", source: "store", severity: "info", about: "node",
    doc: "Somebody wants the node on duty again.",
    says: "{node} is to be on duty again",
    fields: { node },
  },
  "node.suspected": {
    area: "membership", source: "node", severity: "warning", about: "node",
    doc: "The node that says so does not hear another one: its calls go elsewhere at once.",
    says: "{node} is not heard by {by}",
    fields: { node, by: text("the node that says so") },
  },
  "node.heard": {
    area: "membership", source: "node", severity: "info", about: "node",
    doc: "The node that says so hears another one again that it had suspected.",
    says: "{node} is heard by {by} again",
    fields: { node, by: text("the node that says so") },
  },
  "voters.changed": {
    area: "membership", source: "node", severity: "info",
    doc: "Another list of voters rules, as the node that says so has it.",
    says: "the voters are {voters}",
    fields: { voters: text("their names, with commas"), by: text("the node that says so") },
  },
  "quorum.lost": {
    area: "quorum", source: "node", severity: "error", about: "by",
    doc: "The node that says so does not see a majority of voters: it takes no writes.",
    says: "{by} sees {have} voters of the {need} that are needed: no writes",
    fields: {
      by: text("the node that says so"), have: number("voters that it sees"), need: number("voters that are needed"),
    },
  },
  "quorum.regained": {
    area: "quorum", source: "node", severity: "info", about: "by",
    doc: "The node that says so sees a majority of voters again.",
    says: "{by} sees {have} voters again, {need} are needed",
    fields: {
      by: text("the node that says so"), have: number("voters that it sees"), need: number("voters that are needed"),
    },
  },
  "leader.changed": {
    area: "leader", source: "store", severity: "info", about: "node",
    doc: "A node has taken the leadership: it plans, and nothing that an earlier leader writes is taken any more.",
    says: "{node} leads (epoch {epoch})",
    fields: { node, epoch: number("grows with every leader") },
  },
  "blueprint.applied": {
    area: "deployment", source: "store", severity: "info", about: "blueprint",
    doc: "A blueprint has a new revision.",
    says: "{blueprint} has revision {revision}; slices: {slices}",
    fields: { blueprint, revision: number("the new one"), slices: number("how many it has") },
  },
  "blueprint.went-back": {
    area: "deployment", source: "store", severity: "info", about: "blueprint",
    doc: "The new revision of a blueprint wants what an earlier one did: a rollback, or its file was applied again.",
    says: "{blueprint} has revision {revision}: the slices of revision {sameAs}",
    fields: { blueprint, revision: number("the new one"), sameAs: number("the earlier one") },
  },
  "blueprint.deleted": {
    area: "deployment", source: "store", severity: "info", about: "blueprint",
    doc: "A blueprint was deleted: its instances end.",
    says: "{blueprint} is deleted",
    fields: { blueprint },
  },
  "slice.scaled": {
    area: "deployment", source: "store", severity: "info", about: "slice",
    doc: "A blueprint wants a slice with another number of instances.",
    says: "instances of {slice}: {to} instead of {from}",
    fields: { slice, blueprint, from: number("instances before"), to: number("instances now") },
  },
  "slice.scaled-by-load": {
    area: "deployment", source: "store", severity: "info", about: "slice",
    doc: "A slice gets another number of instances while its blueprint stays as it is.",
    says: "instances of {slice}: {to} instead of {from} ({source}): {reason}",
    fields: {
      slice, blueprint, from: number("instances before"), to: number("instances now"),
      source: text("who wanted it: a rule, a model, a person"), reason: text("why"),
    },
  },
  "instance.placed": {
    area: "deployment", source: "store", severity: "info", about: "slice",
    doc: "The leader has given an instance to a node.",
    says: "{slice}/{instance} comes up on {node}",
    fields: placed,
  },
  "instance.active": {
    area: "deployment", source: "store", severity: "info", about: "slice",
    doc: "An instance serves.",
    says: "{slice}/{instance} serves on {node}",
    fields: placed,
  },
  "instance.failed": {
    area: "deployment", source: "store", severity: "error", about: "slice",
    doc: "An instance did not come up, or ended by itself.",
    says: "{slice}/{instance} failed on {node}, {code}: {message}",
    fields: {
      ...placed,
      code: text("code of the error"), message: text("what happened"),
      wasServing: flag("it had come up before"),
      isFatal: flag("it is not tried again before the blueprint changes"),
    },
  },
  "instance.ended": {
    area: "deployment", source: "store", severity: "info", about: "slice",
    doc: "An instance is not on its node any more.",
    says: "{slice}/{instance} has ended on {node}",
    fields: placed,
  },
  "rollout.started": {
    area: "rollout", source: "store", severity: "info", about: "slice",
    doc: "A slice goes to another version.",
    says: "{slice} goes from {from} to {to}, {strategy}",
    fields: { ...turned, strategy: text("how: rolling, blue-green or canary") },
  },
  "rollout.share": {
    area: "rollout", source: "store", severity: "info", about: "slice",
    doc: "The new version gets another share of the calls.",
    says: "{slice}: {percent} % of the calls go to {to}",
    fields: { ...turned, percent: number("its share of the calls") },
  },
  "rollout.late": {
    area: "rollout", source: "leader", severity: "warning", about: "slice",
    doc: "The new version waits for more of the calls for longer than it should: for calls, for its instances, or "
      + "because too many canaries were there before. Told once for each.",
    says: "{slice} has not got further: {message}",
    fields: { slice, blueprint, message: text("what it waits for") },
  },
  "rollout.settled": {
    area: "rollout", source: "store", severity: "info", about: "slice",
    doc: "The new version has all calls and keeps them; what is left of the other one ends.",
    says: "{slice}: {to} has all calls",
    fields: turned,
  },
  "rollout.done": {
    area: "rollout", source: "store", severity: "info", about: "slice",
    doc: "Nothing of the version before runs any more.",
    says: "{slice} runs {to}",
    fields: turned,
  },
  "rollout.turned-back": {
    area: "rollout", source: "store", severity: "error", about: "slice",
    doc: "The new version does not work: the one before serves again.",
    says: "{slice} goes back to {from}: {reason}",
    fields: { ...turned, reason: text("why") },
  },
  "rollout.rolled-back": {
    area: "rollout", source: "store", severity: "warning", about: "slice",
    doc: "Nothing of the version runs any more that did not work.",
    says: "{slice} runs {from} again",
    fields: turned,
  },
  "job.started": {
    area: "job", source: "store", severity: "info", about: "job",
    doc: "There is a new job.",
    says: "{job} of {agent} has begun",
    fields: job,
  },
  "job.waits-for-person": {
    area: "job", source: "store", severity: "warning", about: "job",
    doc: "A job does not go on before somebody decides, resolves, raises its budget or looks at it.",
    says: "{job} of {agent} waits for a person: {reason}",
    fields: {
      ...job,
      reason: text("approval, budget, unknown, stuck or restored"),
      why: maybe(text("what that person has to know, where the job says it")),
    },
  },
  "job.completed": {
    area: "job", source: "store", severity: "info", about: "job",
    doc: "A job has ended with a result.",
    says: "{job} of {agent} is completed",
    fields: job,
  },
  "job.failed": {
    area: "job", source: "store", severity: "error", about: "job",
    doc: "A job has ended with an error; `aether job show` says which.",
    says: "{job} of {agent} failed",
    fields: job,
  },
  "job.cancelled": {
    area: "job", source: "store", severity: "info", about: "job",
    doc: "A job was cancelled and has ended.",
    says: "{job} of {agent} is cancelled",
    fields: job,
  },
  "control.refused": {
    area: "control", source: "leader", severity: "info", about: "slice",
    doc: "A rule or a model wanted another number of instances, and a bound refused it. Alike ones are told once.",
    says: "{slice} is not scaled as {source} wants it ({code}): {reason}",
    fields: {
      slice, source: text("who wanted it: a rule or a model"), code: text("which bound"), reason: text("why"),
    },
  },
  "stall.began": {
    area: "stall", source: "node", severity: "warning", about: "by",
    doc: "Work stands still, on the node that says so or in the cluster as it sees it.",
    says: "{by}: {reason}",
    fields: { ...stalled, reason: text("what stands still, and for how long") },
  },
  "stall.ended": {
    area: "stall", source: "node", severity: "info", about: "by",
    doc: "What stood still goes on.",
    says: "{by}: {what} goes on",
    fields: stalled,
  },
  "alert.fired": {
    area: "alert", source: "leader", severity: "warning", about: "alert",
    doc: "What an alert is about has been so for long enough. That a node sees no quorum only that node says.",
    says: "{alert} of {subject}: {reason}",
    fields: { ...alert, reason: text("what is so"), action: text("what to do") },
  },
  "alert.cleared": {
    area: "alert", source: "leader", severity: "info", about: "alert",
    doc: "What an alert was about is over, or it is not there any more.",
    says: "{alert} of {subject} is over",
    fields: { alert: alert.alert, subject: alert.subject },
  },
  "events.missed": {
    area: "events", source: "node", severity: "warning", about: "by",
    doc: "The node that says so was given a later state of the store: what happened before it is not known there.",
    says: "{by} does not know what happened in revisions {from} to {to}",
    fields: {
      by: text("the node that says so"),
      from: number("the first revision of the store that it did not see"), to: number("the last one"),
    },
  },
} as const satisfies Readonly<Record<string, KindSpec>>;

export type EventKind = keyof typeof EVENT_KINDS;

type Specs<K extends EventKind> = (typeof EVENT_KINDS)[K]["fields"];
type OptionalNames<S> = { [N in keyof S]: S[N] extends { readonly isOptional: true } ? N : never }[keyof S];
type ValueOf<S> = S extends { readonly type: infer T extends keyof Values } ? Values[T] : never;

/** What an event of this kind carries. */
export type EventFields<K extends EventKind> =
  & { readonly [N in Exclude<keyof Specs<K>, OptionalNames<Specs<K>>>]: ValueOf<Specs<K>[N]> }
  & { readonly [N in OptionalNames<Specs<K>>]?: ValueOf<Specs<K>[N]> };

export function isEventKind(kind: string): kind is EventKind {
  return Object.hasOwn(EVENT_KINDS, kind);
}
