// Owns: what a step asks its driver to do. Effects are data, carried out in this order: persist, send, apply, reply.
// A message in `sends` waits for no write; what must be durable first is sent by a later step, after `written`.
import type { NodeId, NodeUid } from "../../base/ids.ts";
import type { Batch } from "./batch-pool.ts";
import type { DecidedChange } from "./membership-change.ts";
import type { ChangeVerdict } from "./membership.ts";
import type { LogStateSnapshot } from "./log-state.ts";
import type { Ballot, BatchId, Message, Outcome, Refusal } from "./message.ts";

export interface FirstVoter {
  readonly node: NodeId;
  readonly uid: NodeUid;
  readonly share: string;
  /** Where peers reached it when the cluster formed. */
  readonly address: string;
}

export type JournalEntry =
  | { readonly kind: "ballot"; readonly ballot: Ballot; readonly batches: readonly Batch[] }
  /** The slot was applied; `batches` are those of its outcome that are not on this disk yet. */
  | { readonly kind: "decided"; readonly slot: number; readonly outcome: Outcome; readonly batches: readonly Batch[] }
  | { readonly kind: "voter-list"; readonly voters: readonly FirstVoter[]; readonly seed: string | undefined }
  | { readonly kind: "formed" }
  /** These marks survive restarts: the state here is wrong, or this node is no member any more. */
  | { readonly kind: "diverged"; readonly reason: string }
  | { readonly kind: "removed"; readonly reason: string }
  /** A snapshot was installed: the state of slots [0, slot) is in this generation. Takes "diverged" back. */
  | { readonly kind: "generation"; readonly generation: number; readonly slot: number };

export interface Send {
  /** A voter, or all others. What is for this node itself has been counted already: only observers see it. */
  readonly to: NodeId | "others";
  readonly message: Message;
  /** "soon": nobody waits for it, so it leaves with whatever is next, or a little later. */
  readonly urgency: "now" | "soon";
}

export interface Apply {
  readonly slot: number;
  readonly outcome: Outcome;
  /** The batches that run now, in order: those of the outcome that did not run before. */
  readonly batches: readonly RunBatch[];
  /** Content of the outcome's batches, in its order, as in a LogEntry. */
  readonly contents: readonly (Uint8Array | undefined)[];
}

/** A peer asks for the applied slots [from, below), or as many as one answer takes. */
export interface LogRequest {
  readonly to: NodeId;
  readonly from: number;
  readonly below: number;
}

export interface RunBatch extends Batch {
  /** What a change of the membership came to; undefined for commands of the state machine. */
  readonly verdict: ChangeVerdict | undefined;
}

export type Alarm =
  | { readonly kind: "contradiction"; readonly from: NodeId; readonly slot: number }
  | { readonly kind: "refused"; readonly by: NodeId; readonly refusal: Refusal };

export class Effects {
  /** In order. The writes of one turn share one fsync. */
  readonly persist: JournalEntry[] = [];
  /** False while only decided slots wait to be written: they may wait for the next ballot. */
  isPersistUrgent = false;
  readonly sends: Send[] = [];
  /** For statistics and checkers; applying follows in slot order. */
  readonly decisions: { readonly slot: number; readonly outcome: Outcome; readonly phase: number | "told" }[] = [];
  readonly applies: Apply[] = [];
  /** A list of voters was decided: reads under way ask once more, because its quorums count from now on. */
  hasNewList = false;
  /** Who belongs to the cluster, or how they are reached, has changed. */
  hasNewMembers = false;
  /** Changes of the membership that this node should propose, because a node asked for them. */
  readonly changes: DecidedChange[] = [];
  /** This node is too far behind for the log of this peer: its state is to be fetched. */
  snapshotFrom: NodeId | undefined;
  /** Peers that ask for applied slots. */
  readonly logRequests: LogRequest[] = [];
  /** Read rounds that a quorum has answered. */
  readonly readTargets: number[] = [];
  readonly alarms: Alarm[] = [];
  /** The others no longer accept this node: it must stop. */
  refused: Refusal | undefined;
  /** The state here is wrong, by the word of a quorum: it must stop, and return only with the state of another. */
  diverged: string | undefined;

  send(to: NodeId | "others", message: Message, urgency: Send["urgency"] = "now"): void {
    this.sends.push({ to, message, urgency });
  }
}

export type ReplicaEvent =
  | { readonly kind: "peer"; readonly node: NodeId; readonly state: "up" | "down" }
  | { readonly kind: "message"; readonly from: NodeId; readonly message: Message }
  /** Entries up to `ticket` (counted since start) are fsynced, in the write with this number. */
  | { readonly kind: "written"; readonly ticket: number; readonly writeNumber: number; readonly proposeBelow: number }
  /** A batch of this node's own closed. */
  | { readonly kind: "batch"; readonly id: BatchId; readonly commands: Uint8Array }
  | { readonly kind: "read" }
  /** The state after this slot was applied has this hash. */
  | { readonly kind: "state-hash"; readonly slot: number; readonly hash: number }
  /** The state of another node was installed: slots [0, applied) are in it. */
  | {
      readonly kind: "installed";
      readonly applied: number;
      readonly log: LogStateSnapshot;
      /** Of the state machine's store. */
      readonly generation: number;
    }
  /** The node is about to end, and its next start must know why. */
  | { readonly kind: "ending"; readonly entry: Extract<JournalEntry, { kind: "diverged" | "removed" }> }
  | { readonly kind: "tick" }
  /** All events of this turn were given: the moment to propose. */
  | { readonly kind: "turn-end" };
