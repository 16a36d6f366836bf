// Owns: the changes of the members that nobody else would ask for: this node's own new address, its promotion into the
// place of a lost voter, a version that all can work with. Does not own: whether a change may be proposed now
// (membership-plan.ts).
import type { SelfIdentity } from "./admission.ts";
import { type ConvenerView, isCaughtUp, pickConvener } from "./convener.ts";
import type { DecidedChange } from "./membership-change.ts";
import type { Turn } from "./turn.ts";
import { CLUSTER_VERSION_MAX } from "./version.ts";

/** A change that this node asks for is asked for again after this time, while there is still reason to. */
const CHANGE_AGAIN_MS = 1_000;

export class MembershipWishes {
  private readonly self: SelfIdentity;
  private readonly view: ConvenerView;
  private readonly turn: Turn;
  private askAgainMs = 0;

  constructor(self: SelfIdentity, view: ConvenerView, turn: Turn) {
    this.self = self;
    this.view = view;
    this.turn = turn;
  }

  ask(): void {
    const { nowMs, effects } = this.turn;
    if (nowMs < this.askAgainMs) return;
    const change = this.ownChange() ?? this.versionChange();
    if (change === undefined) return;
    this.askAgainMs = nowMs + CHANGE_AGAIN_MS;
    effects.changes.push(change);
  }

  private ownChange(): DecidedChange | undefined {
    const { log, slots } = this.view;
    const { membership } = log;
    const { node, uid, address } = this.self;
    const own = membership.find(uid);
    if (own === undefined) return undefined;
    if (own.address !== address) return { kind: "add", node, uid, address };
    // The place of a lost voter is taken as soon as this node has what a voter must have.
    const replaces = membership.named(node).some((member) => member.isLost && member.uid !== uid);
    const isReady = !own.isVoter && replaces && !slots.isFrozen && isCaughtUp(this.view, this.turn.nowMs);
    const isFree = membership.pendingAt(slots.applied) === undefined;
    if (!isReady || !isFree) return undefined;
    return { kind: "promote", node, uid, basis: membership.rulingAt(slots.applied).fromSlot };
  }

  private versionChange(): DecidedChange | undefined {
    const { log, peers, slots } = this.view;
    const { node: self, uid: selfUid } = this.self;
    const version = log.membership.version + 1;
    if (version > CLUSTER_VERSION_MAX) return undefined;
    if (pickConvener(this.view, slots.active, this.turn.nowMs) !== self) return undefined;
    const others = log.membership.members.filter((member) => member.uid !== selfUid);
    const areReady = others.every(({ node, uid }) => {
      const peer = peers.get(node);
      return peer?.uid === uid && peer.supportedVersion >= version;
    });
    return areReady ? { kind: "raise-version", version } : undefined;
  }
}
