// Owns: which method of a slice gets the messages of a topic: that of the version of the slice that leads. So a new
// version takes no topic, and leaves none, before it has the calls; and one that is rolled back has done neither.
// Does not own: which version leads (rollouts/core/leading-version.ts), which instance gets a message (invocation).
import type { ResolvedSlice } from "../../../slices/core/blueprint.ts";
import type { TopicGroupRow } from "../../../slices/core/topic-row.ts";

export type TopicHandler =
  | { readonly kind: "handles"; readonly method: string }
  /** It handles the topic, and the row that says how is damaged. */
  | { readonly kind: "unreadable" }
  /** It gets no messages now, but may get what waits: its versions change, and another one handles the topic. */
  | { readonly kind: "rests" }
  | { readonly kind: "none" };

export interface HandlerState {
  readonly topic: string;
  /** What the blueprint's newest revision says. */
  readonly row: TopicGroupRow | "damaged" | undefined;
  /** Undefined while no blueprint that this node can read has the slice. */
  readonly leading: LeadingHandler | undefined;
}

/** The version that leads, as far as topics are concerned. */
export interface LeadingHandler {
  readonly resolved: Pick<ResolvedSlice, "topics">;
  /** Whether it is what the blueprint wants now. */
  readonly isCurrent: boolean;
  /** Whether no other version will lead by itself. */
  readonly isSettled: boolean;
}

export function handlerOf({ topic, row, leading }: HandlerState): TopicHandler {
  const led = leading?.resolved.topics?.find((one) => one.topic === topic);
  if (led !== undefined) return { kind: "handles", method: led.method };
  if (row === undefined) return { kind: leading === undefined || leading.isSettled ? "none" : "rests" };
  // The version that handles it is still to lead.
  if (leading?.isCurrent === false) return { kind: "rests" };
  // Otherwise the row is newer than what this node has seen of the blueprint.
  return row === "damaged" ? { kind: "unreadable" } : { kind: "handles", method: row.method };
}

/** Whether it gets the messages that are published now. */
export function isListening({ kind }: TopicHandler): boolean {
  return kind === "handles" || kind === "unreadable";
}
