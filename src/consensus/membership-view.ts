// Owns: the members as callers see them.
import type { NodeId } from "../base/ids.ts";
import type { Replica } from "./core/replica.ts";
import { CLUSTER_VERSION_MAX } from "./core/version.ts";
import type { GroupStatus, MembershipView } from "./group.ts";

export function viewMembership(replica: Replica): MembershipView {
  const { membership } = replica.log;
  const { applied } = replica.slots;
  const { node, uid } = replica.admission.self;
  const pending = membership.pendingAt(applied);
  const supported = new Map<NodeId, number>([[node, CLUSTER_VERSION_MAX]]);
  for (const peer of replica.peers.others) {
    if (peer.supportedVersion > 0) supported.set(peer.node, peer.supportedVersion);
  }
  return {
    members: membership.members,
    voters: membership.rulingAt(applied).nodes,
    pending: pending === undefined ? undefined : { voters: pending.nodes, rulesFromSlot: pending.fromSlot },
    version: membership.version,
    supported,
    isSelfRemoved: membership.isRemoved(uid),
  };
}

export function roleOf(replica: Replica): GroupStatus["role"] {
  const { self, isFormed } = replica.admission;
  if (replica.isVoter) return "voter";
  return isFormed && replica.log.membership.isMember(self.uid) ? "member" : "joining";
}
