// Owns: carrying out a plan of faults on a simulated cluster, repairing what a fault broke for good, and healing
// everything at the end. Does not own: which faults (plan/), what a crash costs (testkit).
import { assert, present, unreachable } from "../../../src/base/assert.ts";
import type { ErrorCode } from "../../../src/base/error-catalog.ts";
import type { NodeId } from "../../../src/base/ids.ts";
import type { TestChoices } from "../../../src/consensus/observer.ts";
import type { DiskCopies, Machine } from "../../../src/testkit/sim/machine.ts";
import type { LinkProfile, SimNetwork } from "../../../src/testkit/sim/sim-network.ts";
import type { World } from "../../../src/testkit/sim/world.ts";
import type { CrashMoment, Fault, Link, PlannedFault } from "./faults.ts";
import { Operator, type OperatorPorts, type OperatorStats } from "./operator.ts";

export interface NemesisPorts {
  readonly world: World;
  readonly network: SimNetwork;
  readonly nodes: readonly NodeId[];
  readonly machines: ReadonlyMap<NodeId, Machine>;
  /** Whether the process that runs on the node now takes part in the cluster. */
  readonly isAdmitted: (node: NodeId) => boolean;
  /** Whether all others know that the disk of this node has promised more than when `writes` was its last write. */
  readonly isRemembered: (node: NodeId, writes: number) => boolean;
  /** The last durable write that the node's process knows of. */
  readonly writesOf: (node: NodeId) => number;
  /** How many voters may lose their disks for ever, so that the others are still a quorum. */
  readonly canLose: () => number;
  readonly change: OperatorPorts["change"];
  readonly isMember: OperatorPorts["isMember"];
  readonly directoryOf: OperatorPorts["directoryOf"];
  /** Whether the process that runs on the node now takes part as a voter. */
  readonly isVoter: (node: NodeId) => boolean;
  /** From now on the node is started with `join`. */
  readonly join: (node: NodeId) => void;
}

export interface NemesisStats extends OperatorStats {
  faults: number;
  crashes: number;
  /** Crashes after which no node was up. */
  allNodeCrashes: number;
  /** Processes that stopped themselves, or did not start, because of what was done to their disk. */
  refusals: number;
}

/** A crash that waits for its moment. */
interface Trap {
  readonly node: NodeId;
  readonly moment: CrashMoment;
  readonly victims: readonly { readonly node: NodeId; readonly restartAfterMs: number }[];
  skip: number;
}

/** What is wrong with the disk of a node, and how it is put right again. */
interface Damage {
  /** With these codes the process may stop itself meanwhile. */
  readonly excuses: readonly ErrorCode[];
  readonly repair: () => void;
}

/** A trap whose moment does not come springs after this time all the same. */
const TRAP_MS_MAX = 1_500;

export class Nemesis {
  readonly operator: Operator;
  private readonly counts = { faults: 0, crashes: 0, allNodeCrashes: 0, refusals: 0 };
  private readonly ports: NemesisPorts;
  private readonly baseProfile: LinkProfile;
  private readonly traps = new Set<Trap>();
  private readonly damages = new Map<NodeId, Damage>();
  private readonly misled = new Map<NodeId, NodeId>();
  private coins: (Fault & { readonly kind: "bad-coins" })["side"] | "fair" = "fair";
  /** Faults under way or still to come. */
  private outstanding = 0;
  private isHealed = false;

  constructor(ports: NemesisPorts, baseProfile: LinkProfile) {
    this.ports = ports;
    this.baseProfile = baseProfile;
    this.operator = new Operator(ports);
  }

  get stats(): NemesisStats {
    return { ...this.counts, ...this.operator.stats };
  }

  get isDone(): boolean {
    return this.outstanding === 0 && !this.operator.isBusy;
  }

  start(plan: readonly PlannedFault[]): void {
    this.ports.network.profile = this.baseProfile;
    for (const { atMs, fault } of plan) {
      // The copy of an old disk is taken when the fault begins, and is old when the node comes back with it.
      this.later(atMs, () => this.strike(fault));
    }
  }

  /** Tells that `node` took a step; a trap may spring. */
  onMoment(moment: CrashMoment, node: NodeId): void {
    if (this.traps.size === 0) return;
    for (const trap of this.traps) {
      if (trap.moment !== moment || trap.node !== node) continue;
      trap.skip -= 1;
      // The turn that took the step goes on to its end: crashes come between two events.
      if (trap.skip < 0) this.ports.world.schedule({ delayMs: 0, kind: "trap" }, () => this.spring(trap));
    }
  }

  /** The process of `node` stops itself with this error: whether what was done to its disk is to blame. */
  isExcused(node: NodeId, code: string): boolean {
    if (code === "E_REMOVED" && this.operator.removed.has(node)) return true;
    const isKnown = this.damages.get(node)?.excuses.some((excuse) => excuse === code) ?? false;
    if (isKnown) this.counts.refusals += 1;
    return isKnown;
  }

  /** What the software of `node` is told instead of the truth. */
  choicesOf(node: NodeId): TestChoices {
    const own = this.ports.nodes.indexOf(node);
    return {
      coin: (slot, phase, fair) => {
        if (this.coins === "fair") return fair;
        if (this.coins === "differ") return ((own + slot + phase) & 1) === 0 ? 0 : 1;
        return this.coins === "heads" ? 1 : 0;
      },
      convener: (fair) => this.misled.get(node) ?? fair,
    };
  }

  /** Ends every fault, repairs every disk and starts every node. */
  heal(): void {
    this.isHealed = true;
    this.traps.clear();
    this.misled.clear();
    this.coins = "fair";
    this.ports.network.calm();
    for (const node of [...this.damages.keys()]) this.repair(node);
    for (const machine of this.ports.machines.values()) {
      machine.mendDisks();
      machine.hardwareClock.setRate(1);
      if (!machine.isUp) machine.boot();
    }
  }

  private strike(fault: Fault): void {
    this.counts.faults += 1;
    this.ports.world.note("fault", "", { kind: "text", text: JSON.stringify(fault) });
    switch (fault.kind) {
      case "links":
      case "slow-links":
      case "partition":
      case "flapping":
        this.strikeNetwork(fault);
        return;
      case "crash":
        this.armCrash(fault);
        return;
      case "pause":
        this.machineAt(fault.node).pause(fault.durationMs);
        return;
      case "slow-disk":
      case "stalled-disk":
      case "failing-disk":
        this.strikeWrites(fault);
        return;
      case "rotten-disk":
      case "wiped-disk":
      case "old-disk":
        this.strikeDisk(fault);
        return;
      case "clock-jump":
      case "clock-rate":
        this.strikeClock(fault);
        return;
      case "promote":
      case "remove":
      case "replace":
        this.strikeMembers(fault);
        return;
      case "wrong-convener":
        this.misled.set(this.nodeAt(fault.node), this.nodeAt(fault.convener));
        this.later(fault.durationMs, () => this.misled.delete(this.nodeAt(fault.node)));
        return;
      case "bad-coins":
        this.coins = fault.side;
        this.later(fault.durationMs, () => {
          this.coins = "fair";
        });
        return;
      default:
        unreachable(fault);
    }
  }

  // ── the network ────────────────────────────────────────────────────────────────────────────────────────────────────

  private strikeNetwork(
    fault: Extract<Fault, { readonly kind: "links" | "slow-links" | "partition" | "flapping" }>,
  ): void {
    const { network } = this.ports;
    switch (fault.kind) {
      case "links":
        network.profile = fault.profile;
        this.later(fault.durationMs, () => {
          network.profile = this.baseProfile;
        });
        return;
      case "slow-links": {
        const links = this.linksOf(fault.links);
        for (const [source, target] of links) network.slow(source, target, fault.factor);
        this.later(fault.durationMs, () => {
          for (const [source, target] of links) network.slow(source, target, 1);
        });
        return;
      }
      case "partition":
        this.cut(fault.cut, fault.durationMs);
        return;
      case "flapping":
        for (let time = 0; time < fault.times; time += 1) {
          this.later(2 * time * fault.periodMs, () => this.cut(fault.cut, fault.periodMs));
        }
        return;
      default:
        unreachable(fault);
    }
  }

  private cut(links: readonly Link[], durationMs: number): void {
    for (const [source, target] of this.linksOf(links)) this.ports.network.block(source, target);
    this.later(durationMs, () => this.ports.network.unblockAll());
  }

  /** Those whose ends this run has. */
  private linksOf(links: readonly Link[]): readonly (readonly [NodeId, NodeId])[] {
    const { nodes } = this.ports;
    return links.flatMap(([source, target]) => {
      const [from, to] = [nodes[source], nodes[target]];
      return from === undefined || to === undefined ? [] : [[from, to] as const];
    });
  }

  // ── crashes ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private armCrash(fault: Fault & { readonly kind: "crash" }): void {
    const victims = fault.victims.map(({ node, restartAfterMs }) => ({ node: this.nodeAt(node), restartAfterMs }));
    const first = victims[0];
    if (fault.when.kind === "now" || first === undefined) {
      this.crash(victims);
      return;
    }
    const { moment, skip } = fault.when;
    const trap: Trap = { node: first.node, moment, victims, skip };
    this.traps.add(trap);
    this.later(TRAP_MS_MAX, () => this.spring(trap));
  }

  private spring(trap: Trap): void {
    if (this.traps.delete(trap)) this.crash(trap.victims);
  }

  private crash(victims: Trap["victims"]): void {
    for (const { node, restartAfterMs } of victims) {
      const machine = this.machineOf(node);
      if (!machine.isUp) continue;
      machine.crash();
      this.counts.crashes += 1;
      this.later(restartAfterMs, () => this.bootIfDown(machine));
    }
    if ([...this.ports.machines.values()].every(({ isUp }) => !isUp)) this.counts.allNodeCrashes += 1;
  }

  private bootIfDown(machine: Machine): void {
    if (!machine.isUp) machine.boot();
  }

  // ── disks ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  private strikeWrites(
    fault: Extract<Fault, { readonly kind: "slow-disk" | "stalled-disk" | "failing-disk" }>,
  ): void {
    const node = this.nodeAt(fault.node);
    const machine = this.machineOf(node);
    const { durationMs } = fault;
    switch (fault.kind) {
      case "slow-disk":
        machine.disk.slowness = fault.slowness;
        this.later(durationMs, () => {
          machine.disk.slowness = 1;
        });
        return;
      case "stalled-disk":
        machine.disk.stallMs = durationMs;
        return;
      case "failing-disk":
        if (this.damages.has(node)) return;
        machine.failWrites(fault.reason);
        this.damage(node, durationMs, { excuses: ["E_DISK", "E_UNAVAILABLE"], repair: () => machine.mendDisks() });
        return;
      default:
        unreachable(fault);
    }
  }

  /** The disk of a node that took part is exchanged or damaged while the node is down for a moment. */
  private strikeDisk(fault: Extract<Fault, { readonly kind: "rotten-disk" | "wiped-disk" | "old-disk" }>): void {
    const node = this.nodeAt(fault.node);
    const machine = this.machineOf(node);
    // One voter has nobody who could remember what its disk had promised.
    const isAlone = this.ports.canLose() < 1 && fault.kind !== "rotten-disk";
    if (isAlone || !machine.isUp || !this.ports.isAdmitted(node) || this.damages.has(node)) return;
    if (this.operator.isReplacing(node) || this.operator.removed.has(node)) return;
    switch (fault.kind) {
      case "rotten-disk":
        this.rot(node, fault.bits, fault.durationMs);
        return;
      case "wiped-disk":
        this.exchangeDisk(node, new Map(), fault.durationMs);
        return;
      case "old-disk": {
        const copies = machine.copyDisks();
        const writes = this.ports.writesOf(node);
        this.later(fault.ageMs, () => {
          const isFound = machine.isUp && !this.damages.has(node) && this.ports.isRemembered(node, writes);
          if (isFound) this.exchangeDisk(node, copies, fault.durationMs);
        });
        return;
      }
      default:
        unreachable(fault);
    }
  }

  private rot(node: NodeId, bits: number, durationMs: number): void {
    const machine = this.machineOf(node);
    machine.crash();
    const repairs = Array.from({ length: bits }, () => machine.rotDisk());
    machine.boot();
    this.damage(node, durationMs, {
      excuses: ["E_DATA_CORRUPT"],
      repair: () => {
        machine.crash();
        for (const repair of repairs.reverse()) repair?.();
      },
    });
  }

  private exchangeDisk(node: NodeId, copies: DiskCopies, durationMs: number): void {
    const machine = this.machineOf(node);
    machine.crash();
    const own = machine.copyDisks();
    machine.restoreDisks(copies);
    machine.boot();
    this.damage(node, durationMs, {
      excuses: ["E_DATA_LOST", "E_DATA_FOREIGN"],
      repair: () => {
        machine.crash();
        machine.restoreDisks(own);
      },
    });
  }

  /** One at a time: what is wrong already is repaired first. */
  private damage(node: NodeId, durationMs: number, damage: Damage): void {
    assert(!this.damages.has(node), "a disk is damaged while it is whole");
    this.damages.set(node, damage);
    this.later(durationMs, () => this.repair(node));
  }

  private repair(node: NodeId): void {
    const damage = this.damages.get(node);
    if (damage === undefined) return;
    this.damages.delete(node);
    this.ports.world.note("repair", node);
    damage.repair();
    this.bootIfDown(this.machineOf(node));
  }

  // ── members ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private strikeMembers(fault: Extract<Fault, { readonly kind: "promote" | "remove" | "replace" }>): void {
    const node = this.nodeAt(fault.node);
    const { operator } = this;
    switch (fault.kind) {
      case "promote":
        operator.promote(node);
        return;
      case "remove": {
        const { rejoinAfterMs } = fault;
        // With a wiped disk it may be a member again by itself, before its disk is wiped once more to rejoin.
        if (rejoinAfterMs !== undefined && this.damages.has(node)) return;
        operator.remove(node, () => {
          if (rejoinAfterMs !== undefined) this.later(rejoinAfterMs, () => this.startEmpty(node, 0));
        });
        return;
      }
      case "replace": {
        // While the cluster forms, a voter may not know the directory of another one yet: nobody could name it.
        const isKnown = this.ports.isVoter(node) && this.ports.directoryOf(node) !== undefined;
        const isPossible = isKnown && !this.damages.has(node) && !operator.removed.has(node);
        if (operator.isBusy || !isPossible || this.ports.canLose() < 1) return;
        operator.replace(node);
        this.startEmpty(node, fault.restartAfterMs);
        return;
      }
      default:
        unreachable(fault);
    }
  }

  /** The node's disk is gone, and with it whatever was wrong with it; a new one begins empty. */
  private startEmpty(node: NodeId, afterMs: number): void {
    const machine = this.machineOf(node);
    machine.crash();
    machine.mendDisks();
    this.damages.delete(node);
    machine.restoreDisks(new Map());
    this.ports.join(node);
    this.operator.rejoined(node);
    this.later(afterMs, () => this.bootIfDown(machine));
  }

  // ── clocks ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  private strikeClock(fault: Extract<Fault, { readonly kind: "clock-jump" | "clock-rate" }>): void {
    const clock = this.machineAt(fault.node).hardwareClock;
    if (fault.kind === "clock-jump") {
      if (fault.clock === "wall") clock.jumpWall(fault.byMs);
      else clock.jumpMonotonic(fault.byMs);
      return;
    }
    clock.setRate(fault.rate);
    this.later(fault.durationMs, () => clock.setRate(1));
  }

  // ── who and when ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Plans name nodes by numbers; every number means some node of the run. */
  private nodeAt(number: number): NodeId {
    const { nodes } = this.ports;
    return present(nodes[number % nodes.length], "a simulated cluster has nodes");
  }

  private machineAt(number: number): Machine {
    return this.machineOf(this.nodeAt(number));
  }

  private machineOf(node: NodeId): Machine {
    return present(this.ports.machines.get(node), "every node has a machine");
  }

  private later(delayMs: number, act: () => void): void {
    this.outstanding += 1;
    this.ports.world.schedule({ delayMs, kind: "nemesis" }, () => {
      this.outstanding -= 1;
      if (!this.isHealed) act();
    });
  }
}
