// Owns: whether a change of the members that somebody asks for may be proposed now, as this node sees the cluster, and
// what exactly is proposed. Applying it judges again, by the log alone (membership.ts).
import { unreachable } from "../../base/assert.ts";
import type { NodeId, NodeUid } from "../../base/ids.ts";
import type { MembershipChange } from "../group.ts";
import type { DecidedChange } from "./membership-change.ts";
import { type Member, type Membership, UID_UNKNOWN, type Voter, VoterList } from "./membership.ts";

export interface ClusterSight {
  readonly membership: Membership;
  readonly applied: number;
  isAlive(voter: Voter): boolean;
  /** Has about everything that is decided. */
  isCaughtUp(member: Member): boolean;
  /** A quorum of the list has everything before it on disk. */
  isSettled(list: VoterList): boolean;
}

export type ChangePlan =
  | { readonly kind: "propose"; readonly change: DecidedChange }
  /** It is so already, or will be once the list rules that begins with `rulesFrom`. */
  | { readonly kind: "done"; readonly rulesFrom: number | undefined }
  | {
      readonly kind: "refused";
      readonly code: "E_CONFLICT" | "E_NOT_FOUND" | "E_INVALID" | "E_NO_QUORUM";
      readonly reason: string;
    };

export function planChange(wanted: MembershipChange, sight: ClusterSight): ChangePlan {
  switch (wanted.kind) {
    case "add":
      return planAdd(wanted.node, wanted.address, sight.membership);
    case "promote":
      return planPromote(wanted, sight);
    case "remove":
      return planRemove(wanted, sight);
    case "replace":
      return planReplace(wanted, sight);
    default:
      return unreachable(wanted);
  }
}

const DONE: ChangePlan = { kind: "done", rulesFrom: undefined };

/** The node that a change is about, as its caller named it. */
interface Named {
  readonly node: NodeId;
  readonly uid?: NodeUid;
}

function planAdd(node: NodeId, address: string, membership: Membership): ChangePlan {
  const [known] = membership.named(node);
  if (known === undefined) return { kind: "propose", change: { kind: "add", node, uid: UID_UNKNOWN, address } };
  if (known.address === address) return DONE;
  return { kind: "propose", change: { kind: "add", node, uid: known.uid, address } };
}

function planPromote(named: Named, sight: ClusterSight): ChangePlan {
  const { membership } = sight;
  const { node } = named;
  const member = meant(named, membership.named(node).filter(({ isLost }) => !isLost));
  if (member === undefined) return refuseUnknown(named, membership);
  if (member.isVoter) return doneWithLastList(sight);
  if (member.uid === UID_UNKNOWN) return conflict(`${node} has not joined yet: start it with \`join\``);
  if (!sight.isCaughtUp(member)) {
    return conflict(`${node} does not have everything yet: wait until \`aether cluster status\` shows it caught up`);
  }
  const voters = nextVoters(sight, (list) => {
    const lost = membership.named(node).find((other) => other.isVoter && other.isLost);
    const own = { node, uid: member.uid };
    if (lost === undefined) return [...list, own];
    return list.map((voter) => (voter.uid === lost.uid ? own : voter));
  });
  const change: DecidedChange = { kind: "promote", node, uid: member.uid, basis: basisOf(sight) };
  return refuseList(voters, sight) ?? { kind: "propose", change };
}

function planRemove(named: Named, sight: ClusterSight): ChangePlan {
  const { membership } = sight;
  const { node } = named;
  if (named.uid !== undefined && membership.isRemoved(named.uid)) return doneWithLastList(sight);
  // Of a lost voter and the node that is to take its place, the latter goes first.
  const candidates = membership.named(node);
  const member = meant(named, [...candidates.filter(({ isVoter }) => !isVoter), ...candidates]);
  if (member === undefined) return refuseUnknown(named, membership);
  const change: DecidedChange = { kind: "remove", node, uid: member.uid, basis: basisOf(sight) };
  const propose: ChangePlan = { kind: "propose", change };
  if (!member.isVoter) return propose;
  const voters = nextVoters(sight, (list) => list.filter((voter) => voter.uid !== member.uid));
  if (voters.length === 0) {
    return { kind: "refused", code: "E_INVALID", reason: `${node} is the last voter: promote another node first` };
  }
  return refuseList(voters, sight) ?? propose;
}

/** What cannot be undone wants to be told which directory it is about: the name may be another node's by now. */
function planReplace(named: Named, sight: ClusterSight): ChangePlan {
  const { membership } = sight;
  const { node, uid } = named;
  if (uid === undefined) return refuseUnnamed(node, membership);
  // Another one has its place, or it was removed.
  if (membership.isRemoved(uid)) return DONE;
  const member = meant(named, membership.named(node));
  if (member === undefined) return refuseUnknown(named, membership);
  if (member.isLost) return DONE;
  if (!member.isVoter) return planRemove(named, sight);
  if (sight.isAlive({ node, uid })) {
    return conflict(`${node} is there with its data directory: stop it first, or remove it`);
  }
  return { kind: "propose", change: { kind: "lost", node, uid } };
}

/** The first of the candidates, or the one with the directory that is named. */
function meant({ uid }: Named, candidates: readonly Member[]): Member | undefined {
  return uid === undefined ? candidates[0] : candidates.find((member) => member.uid === uid);
}

/** Whoever asks again hears so when the list is finished that the change was a part of. */
function doneWithLastList({ membership, applied }: ClusterSight): ChangePlan {
  return { kind: "done", rulesFrom: membership.listsFrom(applied).at(-1)?.fromSlot };
}

function refuseUnnamed(node: NodeId, membership: Membership): ChangePlan {
  const [member] = membership.named(node);
  if (member === undefined) return notFound(node);
  return {
    kind: "refused",
    code: "E_INVALID",
    reason: `say which data directory of ${node} is lost: the cluster knows it with ${member.uid} (\`directory\` of ` +
      "the request, `--directory` of the command)",
  };
}

function refuseUnknown({ node, uid }: Named, membership: Membership): ChangePlan {
  const [member] = membership.named(node);
  if (member === undefined || uid === undefined) return notFound(node);
  if (membership.isRemoved(uid)) return conflict(`the data directory ${uid} was removed and cannot come back`);
  return conflict(`${node} is known with the data directory ${member.uid}, not ${uid}: nothing was changed`);
}

function basisOf({ membership, applied }: ClusterSight): number {
  return membership.rulingAt(applied).fromSlot;
}

function nextVoters(sight: ClusterSight, change: (voters: readonly Voter[]) => readonly Voter[]): readonly Voter[] {
  return change(sight.membership.rulingAt(sight.applied).voters);
}

/** One change at a time, and only to voters of whom a quorum is there. */
function refuseList(voters: readonly Voter[], sight: ClusterSight): ChangePlan | undefined {
  const { membership, applied } = sight;
  const last = membership.listsFrom(applied).at(-1);
  if (last !== undefined && (last.fromSlot > applied || !sight.isSettled(last))) {
    return conflict("another change of the voters is under way: wait until it is finished");
  }
  const next = new VoterList(voters, applied);
  // A lost voter cannot be there, whoever has connected under its name meanwhile.
  const alive = voters.filter(({ node, uid }) => {
    return membership.find(uid)?.isLost !== true && sight.isAlive({ node, uid });
  }).length;
  if (alive >= next.quorum) return undefined;
  const reason = `of the voters ${names(next)} only ${alive} would be there, and ${next.quorum} are a quorum`;
  return { kind: "refused", code: "E_NO_QUORUM", reason: `${reason}: start the missing ones first` };
}

function names(list: VoterList): string {
  return list.nodes.join(", ");
}

function conflict(reason: string): ChangePlan {
  return { kind: "refused", code: "E_CONFLICT", reason };
}

function notFound(node: NodeId): ChangePlan {
  return { kind: "refused", code: "E_NOT_FOUND", reason: `the cluster has no member ${node}` };
}

/** A key equal for equal changes, to ask for each only once at a time. */
export function changeKeyOf(change: DecidedChange): string {
  const uid: NodeUid = change.kind === "raise-version" ? UID_UNKNOWN : change.uid;
  const what = change.kind === "raise-version" ? String(change.version) : change.node;
  return `${change.kind} ${what} ${uid}`;
}
