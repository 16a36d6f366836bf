// Owns: which state a node writes of itself, from what it does and what is wanted of it. Does not own: writing it.
import type { NodeStateRow } from "../../core/rows.ts";

/** What the process of a node does, whatever is wanted of the node. */
export type NodeStage = "joining" | "serving" | "stopping";

export interface WantedOfNode {
  /** Somebody asked that it be drained. */
  readonly isDrainWanted: boolean;
  /** No instance has a row there, and none can get one. */
  readonly isEmpty: boolean;
}

export function dutyOf(
  stage: NodeStage,
  { isDrainWanted, isEmpty }: WantedOfNode,
): Pick<NodeStateRow, "state" | "isStopping"> {
  if (stage === "stopping") return { state: "draining", isStopping: true };
  if (stage === "joining") return { state: "joining" };
  if (!isDrainWanted) return { state: "on-duty" };
  return { state: isEmpty ? "drained" : "draining" };
}

/** A node that is drained on request serves until others do in its place; one that stops does not wait for them. */
export function isDrainedOnRequest({ state, isStopping }: Pick<NodeStateRow, "state" | "isStopping">): boolean {
  return (state === "draining" || state === "drained") && isStopping !== true;
}
