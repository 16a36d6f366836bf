// Owns: the port through which kvstore proposes and reads, and through which members come and go. group-driver.ts
// implements it.
import type { NodeId, NodeUid } from "../base/ids.ts";
import type { Member } from "./core/membership.ts";

export type { Member } from "./core/membership.ts";

export type ProposeOutcome =
  | { readonly kind: "applied"; readonly result: unknown }
  /** Nothing was proposed. */
  | {
      readonly kind: "refused";
      readonly code: "E_OVERLOADED" | "E_NO_QUORUM" | "E_UNAVAILABLE";
      readonly reason: string;
    }
  /** The node stops while the command is under way: it may or may not be applied. */
  | { readonly kind: "unknown"; readonly reason: string };

export type ReadOutcome =
  | { readonly kind: "ready" }
  | {
      readonly kind: "refused";
      readonly code: "E_OVERLOADED" | "E_NO_QUORUM" | "E_UNAVAILABLE";
      readonly reason: string;
    };

export interface MembershipView {
  /** Voters first, in the order of the voter list. */
  readonly members: readonly Member[];
  /** The list that rules the next slot to be applied here. */
  readonly voters: readonly NodeId[];
  /** A list that is decided and does not rule yet. */
  readonly pending: { readonly voters: readonly NodeId[]; readonly rulesFromSlot: number } | undefined;
  /** The replicated version of the cluster: what every node must understand. */
  readonly version: number;
  /** What each node's build can work with, as far as this node has heard. */
  readonly supported: ReadonlyMap<NodeId, number>;
  readonly isSelfRemoved: boolean;
}

export type MembershipChange =
  /** Reserves a name, or gives the member of this name another address. */
  | { readonly kind: "add"; readonly node: NodeId; readonly address: string }
  /**
   * `uid` names the data directory that is meant: whoever asks again means the same one, and never a node that has come
   * under the name of the first one meanwhile. Without it, it is the one that has the name now.
   */
  | { readonly kind: "promote" | "remove"; readonly node: NodeId; readonly uid?: NodeUid }
  /** The disk of this node is gone: the next node of its name takes its place. Refused without `uid`. */
  | { readonly kind: "replace"; readonly node: NodeId; readonly uid?: NodeUid };

export type ChangeOutcome =
  /** It rules, and a quorum of the new list has it on disk. */
  | { readonly kind: "done" }
  | {
      readonly kind: "refused";
      readonly code: "E_CONFLICT" | "E_NOT_FOUND" | "E_INVALID" | "E_OVERLOADED" | "E_NO_QUORUM" | "E_UNAVAILABLE";
      readonly reason: string;
    }
  | { readonly kind: "unknown"; readonly reason: string };

export interface GroupStatus {
  /** True when this node is admitted by a quorum, sees a quorum and has applied what was decided when it joined. */
  readonly isReady: boolean;
  readonly hasQuorum: boolean;
  /** Why it is not ready, for people. */
  readonly notReadyReason?: string;
  /** Slots [0, applied) are applied here. */
  readonly applied: number;
  /** Highest decided slot known + 1. */
  readonly decided: number;
  readonly convener: string | undefined;
  /** Voters that a quorum needs, voters seen now, and how many of these may fail before writes stop. */
  readonly quorum: { readonly need: number; readonly have: number; readonly canLose: number };
  readonly role: "voter" | "member" | "joining";
  /** How this node gets what it misses, while it is far behind. */
  readonly catchUp: CatchUp | undefined;
}

export interface CatchUp {
  readonly kind: "log" | "snapshot";
  readonly from: NodeId;
  readonly slotsBehind: number;
  /** Of the snapshot: what has arrived, and about how much there is. */
  readonly bytesReceived: number;
  readonly bytesTotal: number | undefined;
}

/** One consensus group. Callbacks come after the turn of the call, exactly once. */
export interface Group {
  /** `command` is one MessagePack value. */
  propose(command: Uint8Array, done: (outcome: ProposeOutcome) => void): void;
  /** Calls back once the applied state covers every write acknowledged anywhere before this call. */
  readBarrier(done: (outcome: ReadOutcome) => void): void;
  status(): GroupStatus;
}

/** Who belongs to the cluster, and how that changes. group-driver.ts implements it beside `Group`. */
export interface GroupMembership {
  membership(): MembershipView;
  /** Called after the turn in which the view has changed. */
  onMembership(listener: (view: MembershipView) => void): void;
  /** Calls back once the change is finished, which takes until it rules; one change at a time. */
  changeMembership(change: MembershipChange, done: (outcome: ChangeOutcome) => void): void;
}
