// Owns: who belongs to the cluster, as replicated state: the list of voters that rules each slot, the members that
// follow, the uids that never come back, and the version everybody must understand.
// C10 A list decided in slot s rules from s + W on. A node takes part in slot t only while t < applied + W, so whoever
//     votes in t knows the list for t, and all quorums of a slot come from one list.
import { assert, unreachable } from "../../base/assert.ts";
import type { NodeId, NodeUid } from "../../base/ids.ts";
import type { FirstVoter } from "./effects.ts";
import type { DecidedChange } from "./membership-change.ts";
import { quorumOf } from "./quorum.ts";
import { checkSupported } from "./version.ts";

export const VOTERS_MAX = 7;
/** Voters and other members together. */
export const MEMBERS_MAX = 64;
/** Removed uids that are remembered, so that their nodes are told; the oldest are forgotten first. */
export const REMOVED_MAX = 1_000;
/** A name that is reserved for a node that has not come yet. */
export const UID_UNKNOWN = "" as NodeUid;

/** A node of the cluster. A voter counts in quorums, any other member follows the decided log. */
export interface Member {
  readonly node: NodeId;
  /** Names one data directory: a node that lost its disk is another member. Empty while the name is only reserved. */
  readonly uid: NodeUid;
  /** Where peers reach it. */
  readonly address: string;
  readonly isVoter: boolean;
  /** Its disk was declared lost: a new node of this name may come and take its place. */
  readonly isLost: boolean;
}

export interface Voter {
  readonly node: NodeId;
  readonly uid: NodeUid;
}

/** The voters of all slots from `fromSlot` on, until the next list rules. */
export class VoterList {
  readonly voters: readonly Voter[];
  readonly fromSlot: number;
  /** More than half of the listed voters, never of those that happen to be connected. */
  readonly quorum: number;
  private readonly indexes: ReadonlyMap<NodeUid, number>;

  constructor(voters: readonly Voter[], fromSlot: number) {
    this.voters = voters;
    this.fromSlot = fromSlot;
    this.quorum = quorumOf(voters.length);
    this.indexes = new Map(voters.map(({ uid }, index) => [uid, index]));
  }

  get nodes(): readonly NodeId[] {
    return this.voters.map((voter) => voter.node);
  }

  /** -1 for a node that does not vote. */
  indexOf(uid: NodeUid): number {
    return this.indexes.get(uid) ?? -1;
  }

  has(uid: NodeUid): boolean {
    return this.indexes.has(uid);
  }

  countOf(uids: ReadonlySet<NodeUid>): number {
    let count = 0;
    for (const { uid } of this.voters) if (uids.has(uid)) count += 1;
    return count;
  }
}

export type ChangeVerdict =
  /** `rulesFrom` is the first slot of a changed voter list. */
  | { readonly kind: "done"; readonly rulesFrom: number | undefined }
  | {
      readonly kind: "refused";
      readonly code: "E_CONFLICT" | "E_NOT_FOUND" | "E_INVALID" | "E_OVERLOADED";
      readonly reason: string;
    };

type VoterChange = Extract<DecidedChange, { kind: "promote" | "remove" }>;
type WireMember = readonly [node: string, uid: string, address: string, isVoter: boolean, isLost: boolean];
type WireList = readonly [fromSlot: number, voters: readonly (readonly [node: string, uid: string])[]];
export type MembershipSnapshot = readonly [
  version: number,
  members: readonly WireMember[],
  lists: readonly WireList[],
  removed: readonly string[],
];

/** The first version of a cluster. */
const VERSION_FIRST = 1;
const DONE: ChangeVerdict = { kind: "done", rulesFrom: undefined };

export class Membership {
  private readonly windowSlots: number;
  private table: Member[] = [];
  /** The ruling list, then the pending one if there is one. */
  private lists: readonly VoterList[];
  private removedUids: NodeUid[] = [];
  private currentVersion = VERSION_FIRST;

  private constructor(windowSlots: number, lists: readonly VoterList[]) {
    this.windowSlots = windowSlots;
    this.lists = lists;
  }

  /** Before the cluster has formed only names are known; nothing is counted under this list. */
  static unformed(nodes: readonly NodeId[], windowSlots: number): Membership {
    const voters = nodes.map((node) => ({ node, uid: UID_UNKNOWN }));
    return new Membership(windowSlots, [new VoterList(voters, 0)]);
  }

  /** @throws AetherError E_VERSION */
  static restore(snapshot: MembershipSnapshot, windowSlots: number): Membership {
    const [version, members, lists, removed] = snapshot;
    checkSupported(version);
    const restored = new Membership(
      windowSlots,
      lists.map(([fromSlot, voters]) => {
        const listed = voters.map(([node, uid]) => ({ node: node as NodeId, uid: uid as NodeUid }));
        return new VoterList(listed, fromSlot);
      }),
    );
    restored.table = members.map(([node, uid, address, isVoter, isLost]) => ({
      node: node as NodeId,
      uid: uid as NodeUid,
      address,
      isVoter,
      isLost,
    }));
    restored.removedUids = removed.map((uid) => uid as NodeUid);
    restored.currentVersion = version;
    return restored;
  }

  /** Becomes the membership of another node's state. */
  replace(snapshot: MembershipSnapshot): void {
    const { table, lists, removedUids, currentVersion } = Membership.restore(snapshot, this.windowSlots);
    this.table = table;
    this.lists = lists;
    this.removedUids = removedUids;
    this.currentVersion = currentVersion;
  }

  snapshot(): MembershipSnapshot {
    return [
      this.currentVersion,
      this.table.map(({ node, uid, address, isVoter, isLost }) => [node, uid, address, isVoter, isLost] as const),
      this.lists.map((list) => [list.fromSlot, list.voters.map((voter) => [voter.node, voter.uid] as const)] as const),
      this.removedUids,
    ];
  }

  /** The first voters have met: they are the members from slot 0 on. */
  form(first: readonly FirstVoter[]): void {
    assert(!this.isFormed, "a cluster forms once");
    this.table = first.map(({ node, uid, address }) => ({ node, uid, address, isVoter: true, isLost: false }));
    this.lists = [new VoterList(first, 0)];
  }

  get isFormed(): boolean {
    return this.table.length > 0;
  }

  get members(): readonly Member[] {
    return this.table;
  }

  get version(): number {
    return this.currentVersion;
  }

  /** The list that rules `slot`, as far as this state knows. */
  rulingAt(slot: number): VoterList {
    const [first, last] = [this.lists[0], this.lists[this.lists.length - 1]];
    assert(first !== undefined && last !== undefined, "there always is a list");
    return slot >= last.fromSlot ? last : first;
  }

  /** Every list that rules a slot from `slot` on: one, or two while a change is under way. */
  listsFrom(slot: number): readonly VoterList[] {
    const last = this.lists[this.lists.length - 1];
    return last === undefined || slot < last.fromSlot ? this.lists : [last];
  }

  /** The list that will rule later than `slot`. */
  pendingAt(slot: number): VoterList | undefined {
    const last = this.lists[this.lists.length - 1];
    return last !== undefined && last.fromSlot > slot ? last : undefined;
  }

  find(uid: NodeUid): Member | undefined {
    return uid === UID_UNKNOWN ? undefined : this.table.find((member) => member.uid === uid);
  }

  /** Members of this name: one, or a lost voter and the one that is to take its place. */
  named(node: NodeId): readonly Member[] {
    return this.table.filter((member) => member.node === node);
  }

  isMember(uid: NodeUid): boolean {
    return this.find(uid) !== undefined;
  }

  isRemoved(uid: NodeUid): boolean {
    return this.removedUids.includes(uid);
  }

  /**
   * What a change decided in `slot` does. Judges by this state alone, alike on every node.
   * @throws AetherError E_VERSION when this build cannot go on from here.
   */
  apply(change: DecidedChange, slot: number): ChangeVerdict {
    switch (change.kind) {
      case "add":
        return this.add(change.node, change.uid, change.address);
      case "promote":
        return this.promote(change, slot);
      case "remove":
        return this.remove(change, slot);
      case "lost":
        return this.markLost(change.node, change.uid, slot);
      case "raise-version":
        if (change.version !== this.currentVersion + 1) {
          return refused("E_CONFLICT", `the cluster is at version ${this.currentVersion}`);
        }
        checkSupported(change.version);
        this.currentVersion = change.version;
        return DONE;
      default:
        return unreachable(change);
    }
  }

  private add(node: NodeId, uid: NodeUid, address: string): ChangeVerdict {
    if (uid !== UID_UNKNOWN && this.isRemoved(uid)) {
      return refused("E_CONFLICT", `this data directory of ${node} was removed from the cluster and cannot come back`);
    }
    const named = this.named(node);
    const known = uid === UID_UNKNOWN ? named[0] : this.find(uid);
    if (known !== undefined) {
      if (known.node !== node) return refused("E_CONFLICT", `this data directory belongs to ${known.node}`);
      this.change(known, { ...known, address });
      return DONE;
    }
    const reserved = named.find((member) => member.uid === UID_UNKNOWN);
    if (reserved !== undefined) {
      this.change(reserved, { ...reserved, uid, address });
      return DONE;
    }
    if (named.some((member) => !member.isLost) || named.length > 1) {
      return refused("E_CONFLICT", `the name ${node} belongs to another data directory`);
    }
    if (this.table.length >= MEMBERS_MAX) {
      return refused("E_OVERLOADED", `the cluster has ${MEMBERS_MAX} members, its limit`);
    }
    this.table = [...this.table, { node, uid, address, isVoter: false, isLost: false }];
    return DONE;
  }

  private promote({ node, uid, basis }: VoterChange, slot: number): ChangeVerdict {
    const member = this.find(uid);
    if (member === undefined || member.node !== node) return notFound(node);
    if (member.isVoter) return refused("E_CONFLICT", `${node} is a voter already`);
    const busy = this.refuseOther(basis, slot);
    if (busy !== undefined) return busy;
    const { voters } = this.rulingAt(slot);
    const lost = this.named(node).find((other) => other.isVoter && other.isLost);
    if (lost === undefined && voters.length >= VOTERS_MAX) {
      return refused("E_INVALID", `the cluster has ${VOTERS_MAX} voters, its limit`);
    }
    this.change(member, { ...member, isVoter: true });
    if (lost === undefined) return this.startList([...voters, { node, uid }], slot);
    this.drop(lost);
    return this.startList(
      voters.map((voter) => (voter.uid === lost.uid ? { node, uid } : voter)),
      slot,
    );
  }

  private remove({ node, uid, basis }: VoterChange, slot: number): ChangeVerdict {
    const member = this.table.find((candidate) => candidate.node === node && candidate.uid === uid);
    if (member === undefined) return notFound(node);
    if (!member.isVoter) {
      this.drop(member);
      return DONE;
    }
    const busy = this.refuseOther(basis, slot);
    if (busy !== undefined) return busy;
    const left = this.rulingAt(slot).voters.filter((voter) => voter.uid !== uid);
    if (left.length === 0) return refused("E_INVALID", `${node} is the last voter`);
    if (this.countWhole(left) < quorumOf(left.length)) {
      const reason = `without ${node} too many voters are lost: let others take their places first`;
      return refused("E_CONFLICT", reason);
    }
    this.drop(member);
    return this.startList(left, slot);
  }

  private markLost(node: NodeId, uid: NodeUid, slot: number): ChangeVerdict {
    const member = this.find(uid);
    if (member === undefined || member.node !== node) return notFound(node);
    if (!member.isVoter) return refused("E_INVALID", `${node} is no voter: remove it, then let it join again`);
    // Who was judged to be gone may be back, and others gone: without a quorum of whole voters nothing is ever decided.
    for (const list of this.listsFrom(slot)) {
      if (this.countWhole(list.voters.filter((voter) => voter.uid !== uid)) >= list.quorum) continue;
      return refused("E_CONFLICT", `without ${node} too many voters are lost: let others take their places first`);
    }
    this.change(member, { ...member, isLost: true });
    return DONE;
  }

  /** Whether another change of the voters is under way, or came between the judgement of this one and now. */
  private refuseOther(basis: number | undefined, slot: number): ChangeVerdict | undefined {
    const pending = this.pendingAt(slot);
    if (pending !== undefined) {
      return refused("E_CONFLICT", `another change is under way and rules from slot ${pending.fromSlot}`);
    }
    if (basis === undefined || basis === this.rulingAt(slot).fromSlot) return undefined;
    return refused("E_CONFLICT", "the voters have changed since this was asked for: look at them, then ask again");
  }

  /** Voters whose disks are not lost. */
  private countWhole(voters: readonly Voter[]): number {
    return voters.filter((voter) => this.find(voter.uid)?.isLost !== true).length;
  }

  private startList(voters: readonly Voter[], slot: number): ChangeVerdict {
    const next = new VoterList(voters, slot + this.windowSlots);
    this.lists = [this.rulingAt(slot), next];
    const rank = (member: Member): number => {
      const index = next.indexOf(member.uid);
      return index < 0 ? VOTERS_MAX : index;
    };
    this.table = [...this.table].sort((a, b) => rank(a) - rank(b));
    return { kind: "done", rulesFrom: next.fromSlot };
  }

  private change(before: Member, after: Member): void {
    this.table = this.table.map((member) => (member === before ? after : member));
  }

  private drop(gone: Member): void {
    this.table = this.table.filter((member) => member !== gone);
    if (gone.uid === UID_UNKNOWN) return;
    this.removedUids = [...this.removedUids, gone.uid].slice(-REMOVED_MAX);
  }
}

function refused(code: Extract<ChangeVerdict, { kind: "refused" }>["code"], reason: string): ChangeVerdict {
  return { kind: "refused", code, reason };
}

function notFound(node: NodeId): ChangeVerdict {
  return refused("E_NOT_FOUND", `the cluster has no member ${node} with this data directory`);
}
