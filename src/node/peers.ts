// Owns: whom a node connects to: the members as consensus knows them, and before that those of the configuration.
import { AetherError } from "../base/errors.ts";
import { type NodeId, type NodeUid, parseNodeId } from "../base/ids.ts";
import type { MembershipView } from "../consensus/group.ts";
import type { PeerAddresses } from "../net/peer-table.ts";
import type { NodeConfig } from "./config.ts";

/**
 * Nodes and their addresses. This node is among them if it is a member, or one of the first voters. A member says
 * itself where it is reached; when all of them have moved at once, only the configuration knows.
 */
export function peersOf(
  view: MembershipView,
  self: { readonly uid: NodeUid; readonly config: Pick<NodeConfig, "node" | "voters"> },
): PeerAddresses {
  const { uid, config } = self;
  if (view.members.length === 0) {
    return new Map(Object.entries(config.voters).map(([node, url]) => [parseNodeId(node), [url]]));
  }
  const peers = new Map<NodeId, readonly string[]>();
  for (const member of view.members) {
    // A lost voter is not there, a reserved name not yet: both come as guests first.
    const isThere = !member.isLost && member.uid !== "";
    // Another data directory under the own name: this one is no member.
    const isAnotherSelf = member.node === config.node && member.uid !== uid;
    const configured = config.voters[member.node] ?? member.address;
    if (isThere && !isAnotherSelf) peers.set(member.node, [...new Set([member.address, configured])]);
  }
  return peers;
}

/** @throws AetherError E_CONFIG when neither the disk nor the configuration says which cluster this is. */
export function checkHasCluster(view: MembershipView, config: NodeConfig): void {
  const { voters, join, dataDir } = config;
  if (view.members.length > 0 || join.length > 0 || Object.keys(voters).length > 0) return;
  throw new AetherError(
    "E_CONFIG",
    `voters, join: ${dataDir} has no cluster yet: give \`voters\` to begin a new one, or \`join\` with addresses of ` +
      "a running one",
  );
}
