// Owns: what is missing: answers to peers that lack a batch, a slot or a piece of the log, and this node's questions
// for what it lacks itself. Does not own: which peer has it (repair.ts), or what comes of an answer (agreement.ts).
import type { NodeId } from "../../base/ids.ts";
import type { PlantedFault } from "../observer.ts";
import type { Agreement } from "./agreement.ts";
import type { BatchPool } from "./batch-pool.ts";
import type { ConvenerView } from "./convener.ts";
import { type BatchId, type BatchKey, type Message, batchKeyOf } from "./message.ts";
import type { Peer } from "./peer-view.ts";
import { batchesOf, choiceOf, findLogSource, missingBatches, recordOf } from "./repair.ts";
import type { Parked } from "./slot-table.ts";
import type { Turn } from "./turn.ts";

/** A batch usually arrives within this time of the proposal that names it; then it is pulled. */
const PULL_AFTER_MS = 5;
/** Doubles with each time it was asked for in vain. */
const PULL_AGAIN_MS = 50;
const PULL_AGAIN_MS_MAX = 1_000;
const PULL_IDS_MAX = 256;
/** Asked again after this time, doubled with each question in vain: a slow answer is large, and must not come twice. */
const LOG_PULL_MS = 200;
const LOG_PULL_MS_MAX = 2_000;
/** Ticks come much more often; a node that had none for this long was busy with something else. */
const STANDSTILL_MS = 100;
/** Enough for the next tick, before which everything that has arrived is read. */
const TICKS_MS = 5;

export interface RepairsParts {
  readonly turn: Turn;
  readonly pool: BatchPool;
  readonly view: ConvenerView;
  readonly agreement: Agreement;
  readonly planted: PlantedFault | undefined;
}

/** When the batches that a message names are asked for, if they are not here by then. */
export function firstPull(nowMs: number): Pick<Parked, "pullAtMs" | "pullDelayMs"> {
  return { pullAtMs: nowMs + PULL_AFTER_MS, pullDelayMs: PULL_AGAIN_MS };
}

export class Repairs {
  private readonly parts: RepairsParts;
  private logPullAtMs = 0;
  private logPullDelayMs = LOG_PULL_MS;
  private tickedMs = 0;

  constructor(parts: RepairsParts) {
    this.parts = parts;
  }

  /** What arrived while this node stood still is read after this tick: it is no reason to ask again. */
  onTick(): void {
    const { nowMs } = this.parts.turn;
    const sinceMs = nowMs - this.tickedMs;
    if (sinceMs >= STANDSTILL_MS) this.logPullAtMs = Math.max(this.logPullAtMs, nowMs + TICKS_MS);
    this.tickedMs = nowMs;
  }

  // ── for others ─────────────────────────────────────────────────────────────────────────────────────────────────────

  answerBatches(peer: Peer, ids: readonly BatchId[]): void {
    for (const id of ids.slice(0, PULL_IDS_MAX)) {
      const batch = this.parts.pool.get(batchKeyOf(id));
      if (batch !== undefined) this.send(peer.node, { kind: "batch", id, commands: batch.commands });
    }
  }

  answerSlots(peer: Peer, asked: readonly number[]): void {
    const { planted, view } = this.parts;
    const { admission, slots } = view;
    if (planted === "no-help-after-deciding") return;
    const fromLog: number[] = [];
    for (const at of asked.slice(0, view.windowSlots)) {
      const slot = slots.peek(at);
      if (slot?.decision !== undefined) {
        this.send(peer.node, { kind: "decision", slot: at, outcome: slot.decision });
      } else if (at < slots.applied) {
        fromLog.push(at);
      } else if (slot !== undefined && admission.isAdmitted) {
        for (const message of recordOf(slot, admission.self.startWrite)) this.send(peer.node, message);
      }
    }
    // No more than was asked for: of a node that is far behind, the same question comes for slot after slot.
    if (fromLog.length > 0) this.readLog(peer, Math.min(...fromLog), Math.max(...fromLog) + 1);
  }

  answerLog(peer: Peer, from: number): void {
    const { planted, view } = this.parts;
    if (planted === "no-help-after-deciding") return;
    if (from < view.slots.applied) this.readLog(peer, from, view.slots.applied);
  }

  private readLog({ node: to }: Peer, from: number, below: number): void {
    this.parts.turn.effects.logRequests.push({ to, from, below });
  }

  // ── for this node ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Asks whoever named a batch for it: a voter names only what it has. */
  pullOverdueBatches(): void {
    const { agreement, pool, turn, view } = this.parts;
    const { nowMs } = turn;
    const wanted = new Map<NodeId, Map<BatchKey, BatchId>>();
    for (const entry of view.slots.takeOverdue(nowMs)) {
      const missing = missingBatches(choiceOf(entry.message), pool, view.log);
      const { node } = entry.voter;
      wanted.set(node, new Map([...(wanted.get(node) ?? []), ...missing]));
      const pullDelayMs = Math.min(PULL_AGAIN_MS_MAX, entry.pullDelayMs * 2);
      agreement.onSlotMessage({ ...entry, pullAtMs: nowMs + entry.pullDelayMs, pullDelayMs }, undefined);
    }
    for (const [node, missing] of wanted) {
      const ids = [...missing.values()].slice(0, PULL_IDS_MAX);
      if (ids.length > 0) this.send(node, { kind: "pull-batches", ids });
    }
  }

  /** Asks for the log that follows, or for the whole state where no log can lead on from the own one. */
  catchUp(): void {
    const { turn, view } = this.parts;
    const { pace, peers, slots } = view;
    const { nowMs } = turn;
    if (nowMs < this.logPullAtMs) return;
    const freshMs = pace.votePatienceMs * 2;
    const source = slots.isFrozen ? peers.furthest(nowMs) : findLogSource(slots, peers, { nowMs, freshMs });
    if (source === undefined || !source.hasStatus) return;
    this.logPullAtMs = nowMs + LOG_PULL_MS;
    if (slots.isFrozen || source.logStart > slots.applied) {
      turn.effects.snapshotFrom = source.node;
      return;
    }
    this.logPullAtMs = nowMs + this.logPullDelayMs;
    this.logPullDelayMs = Math.min(LOG_PULL_MS_MAX, 2 * this.logPullDelayMs);
    this.send(source.node, { kind: "pull-log", from: slots.applied });
  }

  onLog(entries: Extract<Message, { kind: "log" }>["entries"]): void {
    const { agreement, turn, view } = this.parts;
    const { slots } = view;
    const before = slots.applied;
    for (const entry of entries) {
      if (entry.slot !== slots.applied) continue;
      batchesOf(entry.outcome).forEach((id, at) => {
        const commands = entry.contents[at];
        if (commands !== undefined) agreement.addBatch(id, commands);
      });
      // Adding a batch may already have applied the slot.
      if (entry.slot === slots.applied) agreement.onDecision(entry.slot, entry.outcome);
    }
    if (slots.applied === before) return;
    // Progress: ask for the next chunk at once.
    this.logPullAtMs = turn.nowMs;
    this.logPullDelayMs = LOG_PULL_MS;
    this.catchUp();
  }

  private send(to: NodeId, message: Message): void {
    this.parts.turn.effects.send(to, message);
  }
}
