// Owns: carrying out a plan of faults on a simulated cluster, and healing everything at the end.
import type { NodeId } from "../../../src/base/ids.ts";
import type { Machine } from "../../../src/testkit/sim/machine.ts";
import type { LinkProfile, SimNetwork } from "../../../src/testkit/sim/sim-network.ts";
import type { World } from "../../../src/testkit/sim/world.ts";
import type { CrashMoment, Fault, Link, PlannedFault, Victim } from "./faults.ts";

export interface NemesisPorts {
  readonly world: World;
  readonly network: SimNetwork;
  readonly machines: ReadonlyMap<NodeId, Machine>;
}

export interface NemesisStats {
  faults: number;
  crashes: number;
  /** Crashes after which no node was up. */
  allNodeCrashes: number;
}

/** A crash that waits for its moment. */
interface Trap {
  readonly node: NodeId;
  readonly moment: CrashMoment;
  readonly victims: readonly Victim[];
  skip: number;
}

/** A trap whose moment does not come springs after this time all the same. */
const TRAP_MS_MAX = 1_500;

export class Nemesis {
  readonly stats: NemesisStats = { faults: 0, crashes: 0, allNodeCrashes: 0 };
  private readonly ports: NemesisPorts;
  private readonly baseProfile: LinkProfile;
  private readonly traps = new Set<Trap>();
  /** Faults under way or still to come. */
  private outstanding = 0;
  private isHealed = false;

  constructor(ports: NemesisPorts, baseProfile: LinkProfile) {
    this.ports = ports;
    this.baseProfile = baseProfile;
  }

  get isDone(): boolean {
    return this.outstanding === 0;
  }

  start(plan: readonly PlannedFault[]): void {
    this.ports.network.profile = this.baseProfile;
    for (const { atMs, fault } of plan) this.later(atMs, () => this.strike(fault));
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

  /** Ends every fault and starts every node. */
  heal(): void {
    this.isHealed = true;
    this.traps.clear();
    this.ports.network.calm();
    for (const machine of this.ports.machines.values()) {
      machine.disk.slowness = 1;
      if (!machine.isUp) machine.boot();
    }
  }

  private strike(fault: Fault): void {
    this.stats.faults += 1;
    this.ports.world.note("fault", "", { kind: "text", text: JSON.stringify(fault) });
    const { network, machines } = this.ports;
    switch (fault.kind) {
      case "links":
        network.profile = fault.profile;
        this.later(fault.durationMs, () => {
          network.profile = this.baseProfile;
        });
        return;
      case "slow-links":
        for (const [source, target] of fault.links) network.slow(source, target, fault.factor);
        this.later(fault.durationMs, () => {
          for (const [source, target] of fault.links) network.slow(source, target, 1);
        });
        return;
      case "partition":
        this.cut(fault.cut, fault.durationMs);
        return;
      case "flapping":
        for (let time = 0; time < fault.times; time += 1) {
          this.later(2 * time * fault.periodMs, () => this.cut(fault.cut, fault.periodMs));
        }
        return;
      case "crash":
        this.armCrash(fault);
        return;
      case "slow-disk": {
        const disk = machines.get(fault.node)?.disk;
        if (disk === undefined) return;
        disk.slowness = fault.slowness;
        this.later(fault.durationMs, () => {
          disk.slowness = 1;
        });
        return;
      }
      case "pause":
        machines.get(fault.node)?.pause(fault.durationMs);
        return;
    }
  }

  private cut(links: readonly Link[], durationMs: number): void {
    for (const [source, target] of links) this.ports.network.block(source, target);
    this.later(durationMs, () => this.ports.network.unblockAll());
  }

  private armCrash(fault: Fault & { readonly kind: "crash" }): void {
    const first = fault.victims[0];
    if (fault.when.kind === "now" || first === undefined) {
      this.crash(fault.victims);
      return;
    }
    const { moment, skip } = fault.when;
    const trap: Trap = { node: first.node, moment, victims: fault.victims, skip };
    this.traps.add(trap);
    this.later(TRAP_MS_MAX, () => this.spring(trap));
  }

  private spring(trap: Trap): void {
    if (this.traps.delete(trap)) this.crash(trap.victims);
  }

  private crash(victims: readonly Victim[]): void {
    for (const { node, restartAfterMs } of victims) {
      const machine = this.ports.machines.get(node);
      if (machine?.isUp !== true) continue;
      machine.crash();
      this.stats.crashes += 1;
      this.later(restartAfterMs, () => {
        if (!machine.isUp) machine.boot();
      });
    }
    if ([...this.ports.machines.values()].every(({ isUp }) => !isUp)) this.stats.allNodeCrashes += 1;
  }

  private later(delayMs: number, act: () => void): void {
    this.outstanding += 1;
    this.ports.world.schedule({ delayMs, kind: "nemesis" }, () => {
      this.outstanding -= 1;
      if (!this.isHealed) act();
    });
  }
}
