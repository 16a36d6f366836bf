// Owns: rebuilding a voter from its disk: replays the journal into the state machine up to the last applied slot and
// collects what the replica needs to go on. Does not own: writing.
import { assert, unreachable } from "../base/assert.ts";
import { decode, encode } from "../base/codec.ts";
import { AetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import { MiB } from "../base/units.ts";
import { DedupeTable } from "./core/dedupe-table.ts";
import type { FirstVoter } from "./core/effects.ts";
import type { Identity, JournalRecord, StoredBatch, StoredEntry } from "./core/journal-record.ts";
import { LogState, type LogStateSnapshot } from "./core/log-state.ts";
import { Membership } from "./core/membership.ts";
import { type Ballot, batchKeyOf, type BatchKey, NULL_OUTCOME, type Outcome } from "./core/message.ts";
import type { PeerPromise } from "./core/peer-view.ts";
import type { ConsensusMark, ReplicatedStateMachine } from "./state-machine.ts";

const MARK_FORMAT = 2;
const MARK_BYTES_MAX = 64 * MiB;

export function encodeMark(applied: number, log: LogState): ConsensusMark {
  return encode([MARK_FORMAT, applied, log.snapshot()]);
}

/** The mark of a state whose first slot is yet to come, for one that is restored from a backup. */
export interface DecodedMark {
  readonly applied: number;
  readonly log: LogStateSnapshot;
}

/** @throws AetherError E_VERSION for a mark of a newer build */
export function decodeMark(mark: ConsensusMark): DecodedMark {
  const [format, applied, log] = decode(mark, MARK_BYTES_MAX) as [number, number, LogStateSnapshot];
  if (format !== MARK_FORMAT) {
    throw new AetherError(
      "E_VERSION",
      `the state has mark format ${format}, this build reads format ${MARK_FORMAT}: start the newer build`,
    );
  }
  return { applied, log };
}

/** Who the configuration says this data directory belongs to. */
export interface ExpectedIdentity {
  readonly cluster: string;
  readonly node: NodeId;
  /** The first voters by name; none for a node that joins. */
  readonly voters: readonly NodeId[];
  readonly windowSlots: number;
}

/** What a replay needs of the state machine. */
export type ReplayedState = Pick<
  ReplicatedStateMachine, "loadedMark" | "loadedGeneration" | "needsSnapshot" | "damage" | "applyBatch" | "endSlot"
>;

/** Takes records in order and holds what is left to do after them. */
export class Recovery {
  identity: Identity | undefined;
  voters: readonly FirstVoter[] | undefined;
  /** What the first voters' directories were restored from. */
  seed: string | undefined;
  isFormed = false;
  /** Why this directory cannot be used any more, or its state cannot. */
  removed: string | undefined;
  diverged: string | undefined;
  /** The journal begins after the state ends: nothing of it can be applied. */
  gap: AetherError | undefined;
  /** Of the state that was installed last; 0 when there was none. */
  generation = 0;
  incarnation = 0;
  proposeBelow = 0;
  promises: readonly PeerPromise[] = [];
  applied: number;
  private logState: LogState | undefined;
  private readonly mark: DecodedMark | undefined;
  private readonly stateMachine: ReplayedState;
  private readonly expected: ExpectedIdentity;
  private readonly ballotsBySlot = new Map<number, Ballot[]>();
  private readonly waiting = new Map<BatchKey, StoredBatch>();

  constructor(stateMachine: ReplayedState, expected: ExpectedIdentity) {
    this.stateMachine = stateMachine;
    this.expected = expected;
    const { loadedMark } = stateMachine;
    this.mark = loadedMark === undefined ? undefined : decodeMark(loadedMark);
    this.applied = this.mark?.applied ?? 0;
  }

  /** What consensus itself replicates, as of `applied`. W is the one of the identity, which is read first. */
  get log(): LogState {
    this.logState ??= this.openLog(this.identity?.windowSlots ?? this.expected.windowSlots);
    return this.logState;
  }

  /** Own ballots of slots that are not applied. */
  get ballots(): readonly Ballot[] {
    return [...this.ballotsBySlot.values()].flat();
  }

  /** Batches on disk that have not run. */
  get batches(): readonly StoredBatch[] {
    return [...this.waiting.values()];
  }

  /** @throws AetherError E_DATA_FOREIGN for the directory of another node or cluster, or one with other voters. */
  take(record: JournalRecord): void {
    this.proposeBelow = record.proposeBelow;
    this.promises = record.promises;
    for (const entry of record.entries) this.takeEntry(entry);
  }

  /**
   * Takes this for the outcome of the next slot, as if it were decided: for who must do with what one node knows. False
   * while a batch of it is missing.
   */
  assume(outcome: Outcome): boolean {
    const ids = outcome === NULL_OUTCOME ? [] : outcome.batches;
    if (ids.some((id) => !this.log.covers(id) && !this.waiting.has(batchKeyOf(id)))) return false;
    this.apply({ kind: "decided", slot: this.applied, outcome, batches: [], locations: [] });
    return true;
  }

  /** @throws AetherError E_DATA_CORRUPT when there is a state but no journal, or the state is ahead of it. */
  checkComplete(decidedSlots: number): void {
    if (this.identity === undefined) this.checkIsNew();
    if (decidedSlots < this.applied && !this.isInstalledLater) {
      throw notOneDisk(`the state contains ${this.applied} slots, but the journal ends at ${decidedSlots}`);
    }
  }

  /** The cluster began with this voter alone, and it has never met another one. */
  get isAlone(): boolean {
    return this.identity?.voters.length === 1 && this.promises.length === 0;
  }

  /** The state of another node was installed, and the process ended before the journal heard of it. */
  get isInstalledLater(): boolean {
    return this.stateMachine.loadedGeneration > this.generation && this.applied > 0;
  }

  /** Without a journal nobody knows whose state this is: other voters cannot be asked for it. */
  private checkIsNew(): void {
    const { damage, needsSnapshot } = this.stateMachine;
    if (this.applied === 0 && !needsSnapshot) return;
    const found = "the data directory has a state but no journal";
    throw notOneDisk(damage === undefined ? found : `${found}, and the state is damaged (${damage.message})`);
  }

  private takeEntry(entry: StoredEntry): void {
    switch (entry.kind) {
      case "identity":
        // Before anything is applied: the journal of another node must not touch this one's state.
        checkIdentity(entry.identity, this.expected);
        this.identity = entry.identity;
        return;
      case "start":
        this.incarnation = entry.incarnation;
        return;
      case "voter-list":
        this.voters = entry.voters;
        this.seed = entry.seed;
        return;
      case "formed":
        this.isFormed = true;
        if (this.voters !== undefined && !this.log.membership.isFormed) this.log.membership.form(this.voters);
        return;
      case "cut":
        this.checkReaches(entry.slot);
        return;
      case "generation":
        this.checkReaches(entry.slot);
        this.generation = entry.generation;
        this.diverged = undefined;
        return;
      case "diverged":
        this.diverged = entry.reason;
        return;
      case "removed":
        this.removed = entry.reason;
        return;
      case "ballot":
        this.keep(entry.batches);
        this.takeBallot(entry.ballot);
        return;
      case "decided":
        this.keep(entry.batches);
        if (entry.slot >= this.applied && this.canApply) this.apply(entry);
        return;
      default:
        unreachable(entry);
    }
  }

  /**
   * Without a state to apply to, everything said about slots is kept: another node's may end before them. So is what
   * was said before another node's state was installed: the journal goes back to where that one ended.
   */
  private get canApply(): boolean {
    const { needsSnapshot, loadedGeneration } = this.stateMachine;
    return this.gap === undefined && !needsSnapshot && this.generation >= loadedGeneration;
  }

  /** The slots before this one are in the state alone. */
  private checkReaches(slot: number): void {
    if (this.applied >= slot || this.stateMachine.needsSnapshot) return;
    this.gap = notOneDisk(`the state contains ${this.applied} slots, but the journal begins at ${slot}`);
  }

  private keep(batches: readonly StoredBatch[]): void {
    for (const batch of batches) if (!this.log.covers(batch.id)) this.waiting.set(batchKeyOf(batch.id), batch);
  }

  private takeBallot(ballot: Ballot): void {
    if (ballot.slot < this.applied) return;
    const ballots = this.ballotsBySlot.get(ballot.slot) ?? [];
    ballots.push(ballot);
    this.ballotsBySlot.set(ballot.slot, ballots);
  }

  private apply(entry: Extract<StoredEntry, { kind: "decided" }>): void {
    assert(entry.slot === this.applied, "C7: the journal continues the checkpoint without a gap");
    const ids = entry.outcome === NULL_OUTCOME ? [] : entry.outcome.batches;
    for (const id of ids) {
      if (this.log.covers(id)) continue;
      const batch = this.waiting.get(batchKeyOf(id));
      assert(batch !== undefined, "C6: the batches of an applied slot are in the journal");
      this.waiting.delete(batchKeyOf(id));
      if (!this.log.mayRun(id)) continue;
      const { isFirstOfStart, verdict } = this.log.run(id, batch.commands, entry.slot);
      if (verdict === undefined) this.stateMachine.applyBatch(batch.commands);
      if (isFirstOfStart || verdict !== undefined) this.dropCovered();
    }
    this.applied = entry.slot + 1;
    this.ballotsBySlot.delete(entry.slot);
    this.stateMachine.endSlot(entry.slot, () => encodeMark(this.applied, this.log));
  }

  private dropCovered(): void {
    for (const [key, batch] of this.waiting) if (this.log.covers(batch.id)) this.waiting.delete(key);
  }

  /** A state that was restored from a backup has no members yet: its cluster is still to form. */
  private openLog(windowSlots: number): LogState {
    if (this.mark !== undefined && this.mark.applied > 0) return LogState.restore(this.mark.log, windowSlots);
    return new LogState(new DedupeTable(), Membership.unformed(this.expected.voters, windowSlots));
  }
}

function checkIdentity(found: Identity, expected: ExpectedIdentity): void {
  const isSameNode = found.cluster === expected.cluster && found.node === expected.node;
  // `voters` and `join` are for the first start: the directory knows better who the members are now. But a list that
  // this cluster never began with is another cluster's.
  const isOther = `${found.voters}` !== `${expected.voters}` && found.voters.length > 0 && expected.voters.length > 0;
  if (isSameNode && !isOther) return;
  throw new AetherError(
    "E_DATA_FOREIGN",
    `the data directory belongs to node ${found.node} of cluster ${found.cluster} ` +
      `with first voters ${found.voters.join(", ")}, ` +
      `but the configuration says node ${expected.node} of cluster ${expected.cluster} with first voters ` +
      `${expected.voters.join(", ")}: set dataDir or the configuration right`,
  );
}

function notOneDisk(what: string): AetherError {
  return new AetherError("E_DATA_CORRUPT", `${what}: restore both from the same disk`);
}
