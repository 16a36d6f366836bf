// Owns: the type of who belongs to the cluster, as consensus tells the net.
import type { NodeId, NodeUid } from "../base/ids.ts";

export interface Roster {
  /** Of this node's data directory, once that is known. */
  readonly uid: NodeUid | undefined;
  /** Members and their addresses. A node that is not among them itself is a guest, which asks its way in. */
  readonly peers: ReadonlyMap<NodeId, string>;
  /** Data directories that were members and never come back. */
  readonly removed: ReadonlySet<NodeUid>;
}
