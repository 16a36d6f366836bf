// Owns: real states and lease keepers of several nodes, each with a clock of its own, over one log that all of them
// apply in order. A node that is paused applies, hears and does nothing until it goes on; a dead one never does.
import { encode } from "../../src/base/codec.ts";
import { AetherError } from "../../src/base/errors.ts";
import { parseNodeId, type NodeId } from "../../src/base/ids.ts";
import type { MembershipView, ProposeOutcome } from "../../src/consensus/group.ts";
import type { Clock } from "../../src/env/clock.ts";
import type { StorePort } from "../../src/env/store.ts";
import { encodeGrant, encodeRenew } from "../../src/kvstore/core/command.ts";
import type { LeaseId } from "../../src/kvstore/core/schema.ts";
import { KvGenerations } from "../../src/kvstore/kv-generations.ts";
import { KvState, type LeaseResult } from "../../src/kvstore/kv-state.ts";
import { LeaseKeeper } from "../../src/kvstore/lease-keeper.ts";
import { createMemoryStorePort } from "../../src/storage/memory-store.ts";
import { SILENT_TELEMETRY } from "./cluster-world.ts";
import { joinCommands, SILENT_LOG } from "./local-kv.ts";
import { ManualClock } from "./manual-clock.ts";
import { MemoryHub } from "./memory-messaging.ts";

interface Proposal {
  readonly command: Uint8Array;
  readonly done: (outcome: ProposeOutcome) => void;
}

interface WorldNode {
  readonly id: NodeId;
  readonly state: KvState;
  readonly skew: { rate: number; offsetMs: number };
  readonly disk: { isFailing: boolean };
  keeper: LeaseKeeper;
  applied: number;
  isPaused: boolean;
  /** Applies nothing, but hears and speaks. */
  isHeld: boolean;
}

export class LeaseWorld {
  readonly clock = new ManualClock();
  /** When a lease ended for the first time on any node, by true time. */
  readonly endedAtMs = new Map<LeaseId, number>();
  /** The nodes have too much to do to propose anything. */
  isOverloaded = false;
  private readonly hub = new MemoryHub(this.clock);
  private readonly nodes: WorldNode[] = [];
  private readonly log: Proposal[] = [];

  static async open(names: readonly string[] = ["n1", "n2", "n3"]): Promise<LeaseWorld> {
    const world = new LeaseWorld();
    for (const name of names) await world.add(parseNodeId(name));
    await world.clock.settle();
    return world;
  }

  async grant(ttlMs: number): Promise<LeaseId> {
    const result = (await this.decide(encodeGrant(ttlMs, false))) as LeaseResult;
    if (result.kind !== "granted") throw new RangeError(result.kind);
    return result.lease;
  }

  async renew(lease: LeaseId): Promise<void> {
    await this.decide(encodeRenew([lease]));
  }

  /** From now on this clock runs so many times as fast. */
  setRate(name: string, rate: number): void {
    const { skew } = this.node(name);
    skew.offsetMs += this.clock.nowMs() * (skew.rate - rate);
    skew.rate = rate;
  }

  jump(name: string, byMs: number): void {
    this.node(name).skew.offsetMs += byMs;
  }

  pause(name: string): void {
    const node = this.node(name);
    node.isPaused = true;
    this.hub.cut(node.id);
  }

  resume(name: string): void {
    const node = this.node(name);
    node.isPaused = false;
    this.hub.mend(node.id);
    this.applyAt(node);
  }

  /** Applies nothing until `unhold`, and goes on otherwise. */
  hold(name: string): void {
    this.node(name).isHeld = true;
  }

  unhold(name: string): void {
    const node = this.node(name);
    node.isHeld = false;
    this.applyAt(node);
  }

  /** A new process over the same state: it knows no times. */
  async restart(name: string): Promise<void> {
    const node = this.node(name);
    node.keeper.close();
    this.hub.leave(node.id);
    node.keeper = this.openKeeper(node);
    node.keeper.start();
    await this.clock.settle();
  }

  /** What is on its disk cannot be listed until it is mended. */
  failDisk(name: string): void {
    this.node(name).disk.isFailing = true;
  }

  mendDisk(name: string): void {
    this.node(name).disk.isFailing = false;
  }

  cut(name: string): void {
    this.hub.cut(this.node(name).id);
  }

  mend(name: string): void {
    this.hub.mend(this.node(name).id);
  }

  has(lease: LeaseId): boolean {
    return this.nodes.some(({ state }) => state.lease(lease) !== undefined);
  }

  close(): void {
    for (const { keeper } of this.nodes) keeper.close();
  }

  private async add(id: NodeId): Promise<void> {
    const disk = { isFailing: false };
    const generations = KvGenerations.open(failingWhen(disk, createMemoryStorePort(this.clock)));
    await this.clock.settle();
    const onFatal = (error: Error): void => {
      throw error;
    };
    const state = KvState.open({
      generations: await generations, clock: this.clock, log: SILENT_LOG, cluster: "c", onFatal,
    });
    state.onLeases((result) => {
      if (result.kind !== "ended") return;
      for (const lease of result.leases) this.endedAtMs.set(lease, this.endedAtMs.get(lease) ?? this.clock.nowMs());
    });
    const partial = { id, state, skew: { rate: 1, offsetMs: 0 }, disk, applied: 0, isPaused: false, isHeld: false };
    const node: WorldNode = { ...partial, keeper: this.openKeeper(partial) };
    node.keeper.start();
    this.nodes.push(node);
  }

  private openKeeper(node: Pick<WorldNode, "id" | "state" | "skew">): LeaseKeeper {
    const group = {
      propose: (command: Uint8Array, done: (outcome: ProposeOutcome) => void): void => {
        if (this.isOverloaded) {
          this.clock.defer(() => done({ kind: "refused", code: "E_OVERLOADED", reason: "too much to do" }));
          return;
        }
        // What a paused node had begun is decided when it goes on.
        this.log.push({ command, done });
        this.clock.defer(() => this.applyAll());
      },
      membership: (): MembershipView => this.membership(),
    };
    const ports = { state: node.state, group, messaging: this.hub.join(node.id) };
    return new LeaseKeeper({ clock: this.skewed(node), telemetry: SILENT_TELEMETRY }, ports, node.id);
  }

  private skewed({ id, skew }: Pick<WorldNode, "id" | "skew">): Clock {
    const { clock } = this;
    const isPaused = (): boolean => this.nodes.some((node) => node.id === id && node.isPaused);
    return {
      nowMs: () => clock.nowMs() * skew.rate + skew.offsetMs,
      wallMs: () => clock.wallMs(),
      setTimer(delayMs, fire) {
        let timer = clock.setTimer(delayMs / skew.rate, () => tick());
        const tick = (): void => {
          if (isPaused()) timer = clock.setTimer(50, tick);
          else fire();
        };
        return { cancel: () => timer.cancel() };
      },
      defer: (fire) => clock.defer(fire),
      nextTurn: (fire) => clock.nextTurn(fire),
      sleep: (delayMs, signal) => clock.sleep(delayMs, signal),
    };
  }

  private decide(command: Uint8Array): Promise<unknown> {
    return new Promise((resolve) => {
      this.log.push({ command, done: (outcome) => resolve(outcome.kind === "applied" ? outcome.result : undefined) });
      this.applyAll();
    });
  }

  private applyAll(): void {
    for (const node of this.nodes) this.applyAt(node);
  }

  private applyAt(node: WorldNode): void {
    while (!node.isPaused && !node.isHeld && node.applied < this.log.length) {
      const slot = node.applied++;
      const proposal = this.log[slot];
      if (proposal === undefined) return;
      const [result] = node.state.applyBatch(joinCommands([proposal.command]));
      node.state.endSlot(slot, () => encode(slot));
      proposal.done({ kind: "applied", result });
    }
  }

  private membership(): MembershipView {
    const voters = this.nodes.map(({ id }) => id);
    return { members: [], voters, pending: undefined, version: 1, supported: new Map(), isSelfRemoved: false };
  }

  private node(name: string): WorldNode {
    const found = this.nodes.find(({ id }) => id === name);
    if (found === undefined) throw new RangeError(`there is no node ${name}`);
    return found;
  }
}

function failingWhen(disk: { readonly isFailing: boolean }, stores: StorePort): StorePort {
  return {
    list: () => stores.list(),
    destroy: (name) => stores.destroy(name),
    open: async (name) => {
      const store = await stores.open(name);
      return {
        getSync: (key) => store.getSync(key),
        write: (ops, done) => store.write(ops, done),
        begin: () => store.begin(),
        entries: (range) => (disk.isFailing ? noEntries() : store.entries(range)),
        close: () => store.close(),
      };
    },
  };
}

async function* noEntries(): AsyncGenerator<never> {
  throw new AetherError("E_DISK", "no descriptor is left");
}
