// Owns: which node hands out which messages: each partition of a group belongs to one of the nodes on duty, and moves
// only when a node comes or goes. Two nodes that see different nodes may both think that it is theirs: then a message
// is handed out twice, never to nobody for long.
import { sha256 } from "../../../base/digest.ts";
import type { NodeId } from "../../../base/ids.ts";

/** Of each topic and group; messages with the same key are in the same one. */
export const PARTITIONS = 16;

export function partitionOf(key: string): number {
  return Number.parseInt(sha256(key).slice(0, 8), 16) % PARTITIONS;
}

/** Undefined when no node is there. */
export function ownerOf(label: string, nodes: readonly NodeId[]): NodeId | undefined {
  let owner: NodeId | undefined;
  let highest = "";
  for (const node of nodes) {
    const weight = sha256(`${node} ${label}`);
    if (owner !== undefined && weight <= highest) continue;
    owner = node;
    highest = weight;
  }
  return owner;
}
