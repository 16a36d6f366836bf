// Owns: the real store for tests of other areas: KvStore and KvState on a memory store, over a group of one process
// that decides in the order of proposals. Nothing of the store is replaced, only agreement is.
import { encode } from "../../src/base/codec.ts";
import type { AetherError } from "../../src/base/errors.ts";
import type { Clock } from "../../src/env/clock.ts";
import type { StorePort } from "../../src/env/store.ts";
import type { Log } from "../../src/env/telemetry.ts";
import type { Group, GroupStatus, ProposeOutcome, ReadOutcome } from "../../src/consensus/group.ts";
import { KvGenerations } from "../../src/kvstore/kv-generations.ts";
import { KvState } from "../../src/kvstore/kv-state.ts";
import { KvStore } from "../../src/kvstore/kv-store.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { createMemoryStorePort } from "../../src/storage/memory-store.ts";

export interface LocalKvOptions {
  /** Real time when absent. */
  readonly clock?: Clock;
  /** Memory when absent. Give the same port again to reopen what an earlier one has written. */
  readonly stores?: StorePort;
}

export interface LocalKv {
  readonly kv: KvStore;
  readonly state: KvState;
  readonly group: LocalGroup;
  readonly stores: StorePort;
  /** What would have stopped the node. */
  readonly fatal: readonly AetherError[];
  /** Writes the last checkpoint and closes everything. */
  close(): Promise<void>;
}

export async function createLocalKv(options: LocalKvOptions = {}): Promise<LocalKv> {
  const clock = options.clock ?? createRealClock();
  const stores = options.stores ?? createMemoryStorePort(clock);
  const generations = await KvGenerations.open(stores);
  const fatal: AetherError[] = [];
  const state = KvState.open({
    generations,
    clock,
    log: SILENT_LOG,
    cluster: "local",
    onFatal: (error) => fatal.push(error),
  });
  const group = new LocalGroup(state, clock);
  const kv = new KvStore({ group, state, clock });
  const close = async (): Promise<void> => {
    kv.close();
    group.stop();
    await state.close();
    await generations.close();
  };
  return { kv, state, group, stores, fatal, close };
}

interface Pending {
  readonly command: Uint8Array;
  readonly done: (outcome: ProposeOutcome) => void;
}

/** How the group treats what comes next: `no-quorum` and `full` refuse, `silent` never answers but may decide later. */
export type LocalGroupMode = "deciding" | "no-quorum" | "full" | "silent" | "stopped";

/** Applies what is proposed in one turn as one slot, after the turn. */
export class LocalGroup implements Group {
  private readonly state: KvState;
  private readonly clock: Clock;
  private mode: LocalGroupMode = "deciding";
  private waiting: Pending[] = [];
  private slot = 0;

  constructor(state: KvState, clock: Clock) {
    this.state = state;
    this.clock = clock;
    const mark = state.loadedMark;
    this.slot = mark === undefined ? 0 : Buffer.from(mark).readUInt32LE();
  }

  /** Back in `deciding`, what was proposed while `silent` is decided. */
  setMode(mode: Exclude<LocalGroupMode, "stopped">): void {
    this.mode = mode;
    this.clock.defer(() => this.decide());
  }

  stop(): void {
    this.mode = "stopped";
    const ended = this.waiting.splice(0);
    this.clock.defer(() => ended.forEach(({ done }) => done({ kind: "unknown", reason: "this node stops" })));
  }

  propose(command: Uint8Array, done: (outcome: ProposeOutcome) => void): void {
    const refusal = this.refusal();
    if (refusal !== undefined) {
      this.clock.defer(() => done(refusal));
      return;
    }
    this.waiting.push({ command, done });
    if (this.waiting.length === 1) this.clock.defer(() => this.decide());
  }

  readBarrier(done: (outcome: ReadOutcome) => void): void {
    if (this.mode === "silent") return;
    const outcome = this.refusal() ?? { kind: "ready" as const };
    this.clock.defer(() => done(outcome));
  }

  status(): GroupStatus {
    const hasQuorum = this.mode === "deciding";
    const quorum = { need: 1, have: hasQuorum ? 1 : 0, canLose: 0 };
    const position = { applied: this.slot, decided: this.slot, convener: "local" };
    return { isReady: hasQuorum, hasQuorum, ...position, quorum, role: "voter", catchUp: undefined };
  }

  private refusal(): Extract<ProposeOutcome & ReadOutcome, { kind: "refused" }> | undefined {
    const kind = "refused";
    if (this.mode === "no-quorum") return { kind, code: "E_NO_QUORUM", reason: "this node sees no majority" };
    if (this.mode === "full") return { kind, code: "E_OVERLOADED", reason: "too many commands are under way" };
    if (this.mode === "stopped") return { kind, code: "E_UNAVAILABLE", reason: "this node stops" };
    return undefined;
  }

  private decide(): void {
    if (this.mode !== "deciding" || this.waiting.length === 0) return;
    const deciding = this.waiting.splice(0);
    const results = this.state.applyBatch(joinCommands(deciding.map(({ command }) => command)));
    const slot = this.slot++;
    this.state.endSlot(slot, () => slotMark(slot + 1));
    deciding.forEach(({ done }, index) => done({ kind: "applied", result: results[index] }));
  }
}

/** The batch of these commands: a MessagePack array whose items are encoded already. */
export function joinCommands(commands: readonly Uint8Array[]): Uint8Array {
  const header = commands.length < 16 ? [0x90 | commands.length] : [0xdd, ...uint32(commands.length)];
  return Buffer.concat([Uint8Array.from(header), ...commands]);
}

/** A batch of one command. */
export function batchOf(...commands: readonly unknown[]): Uint8Array {
  return encode(commands);
}

function uint32(value: number): number[] {
  return [(value >>> 24) & 0xff, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}

function slotMark(next: number): Uint8Array {
  const mark = Buffer.alloc(4);
  mark.writeUInt32LE(next);
  return mark;
}

export const SILENT_LOG: Log = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
  child: () => SILENT_LOG,
};
