// Owns: one simulated computer: its disks, which survive, and its process, which does not. Boots, crashes, pauses it.
import { assert } from "../../base/assert.ts";
import { AetherError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import type { LogPort } from "../../env/append-log.ts";
import type { Clock } from "../../env/clock.ts";
import type { OrderedStore, StoreEntry, StorePort } from "../../env/store.ts";
import type { Log } from "../../env/telemetry.ts";
import type { PeerMessaging } from "../../net/peer-messaging.ts";
import { HardwareClock } from "./hardware-clock.ts";
import { SimClock } from "./sim-clock.ts";
import { SimLog } from "./sim-log.ts";
import { createSimLogPort, FILE_RULES } from "./sim-log-files.ts";
import type { SimNetwork } from "./sim-network.ts";
import { SimProcess } from "./sim-process.ts";
import { SimDisk, SimStore, type DiskProfile, type Repair, type WriteStage } from "./sim-store.ts";
import type { World } from "./world.ts";

/** What a process on a simulated machine sees of the world. */
export interface ProcessEnv {
  readonly process: SimProcess;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly messaging: PeerMessaging;
  readonly store: StorePort;
  readonly logs: LogPort;
}

/** Starts the software under test. Peers can connect once the promise has resolved. */
export type BootProcess = (env: ProcessEnv) => Promise<void>;

/** The stores that are files, and no databases. */
const LOGS: readonly string[] = ["wal", "past"];
const CLOCK_ORIGIN_MS_MAX = 1_000_000;
const WALL_SKEW_MS_MAX = 1_800_000;

/** Content of the disks of one machine, by name. */
export type DiskCopies = ReadonlyMap<string, ReadonlyMap<string, StoreEntry>>;

export class Machine {
  readonly node: NodeId;
  readonly disk: DiskProfile = { slowness: 1, stallMs: 0 };
  readonly hardwareClock: HardwareClock;
  /** Told when a write of a store is queued and when it is durable. */
  onWrite: (store: string, stage: WriteStage) => void = () => undefined;
  private readonly world: World;
  private readonly network: SimNetwork;
  private readonly bootProcess: BootProcess;
  private readonly random: Random;
  private readonly disks = new Map<string, SimDisk>();
  private lives = 0;
  private current: SimProcess | undefined;

  /** `wallSkewMsMax`: how wrong its wall clock may be, either way. Default half an hour. */
  constructor(
    world: World, network: SimNetwork, node: NodeId, bootProcess: BootProcess, wallSkewMsMax = WALL_SKEW_MS_MAX,
  ) {
    this.world = world;
    this.network = network;
    this.node = node;
    this.bootProcess = bootProcess;
    this.random = world.random.fork(`machine ${node}`);
    const wallSkewMs = Math.floor((this.random.next() - 0.5) * 2 * wallSkewMsMax);
    this.hardwareClock = new HardwareClock(() => world.nowMs, wallSkewMs);
  }

  get process(): SimProcess | undefined {
    return this.current;
  }

  get isUp(): boolean {
    return this.current !== undefined;
  }

  boot(): void {
    assert(this.current === undefined, "a machine runs one process");
    this.lives += 1;
    const process = new SimProcess(this.node, this.lives);
    this.current = process;
    this.world.note("boot", this.node, { kind: "text", text: `life ${process.life}` });
    const messaging = this.network.createMessaging(process);
    const store: StorePort = {
      open: (name) => this.openStore(process, name),
      list: () => Promise.resolve([...this.disks.keys()]),
      destroy: (name) => this.destroyStore(process, name),
    };
    const originMs = Math.floor(this.random.next() * CLOCK_ORIGIN_MS_MAX);
    const clock = new SimClock(this.world, process, this.hardwareClock, originMs);
    const env: ProcessEnv = {
      process,
      clock,
      random: this.random.fork(`life ${process.life}`),
      log: new SimLog(this.world, process),
      messaging,
      store,
      logs: createSimLogPort({ stores: store, clock, settleSoon: () => this.world.settleSoon() }),
    };
    this.world.spawn(process, async () => {
      await this.bootProcess(env);
      if (process.isAlive) this.network.attach(messaging);
    });
  }

  /** The process is gone, and most times power with it: with everything that was not fsynced. */
  crash(): void {
    const process = this.current;
    if (process === undefined) return;
    this.current = undefined;
    this.world.note("crash", this.node);
    this.world.kill(process);
    this.network.detach(this.node);
    const kind = this.random.below(3) === 0 ? "process" : "power";
    for (const disk of this.disks.values()) disk.crash(kind, this.random);
  }

  /** The process stands still and loses nothing, like one that was swapped out or stopped by a signal. */
  pause(durationMs: number): void {
    const process = this.current;
    if (process === undefined) return;
    this.world.note("pause", this.node, { kind: "text", text: `${durationMs.toFixed(0)} ms` });
    process.pausedUntilMs = Math.max(process.pausedUntilMs, this.world.nowMs + durationMs);
    this.network.silence(this.node, durationMs);
  }

  /** Every write fails from now on, also those of later processes, until `mendDisks`. */
  failWrites(reason: "io" | "full" = "io"): void {
    this.disk.failing = reason;
  }

  /** Writes work again, in time. */
  mendDisks(): void {
    delete this.disk.failing;
    this.disk.slowness = 1;
    this.disk.stallMs = 0;
  }

  /** Turns one bit of what some store holds. Undefined when there is nothing to turn. Only while no process runs. */
  rotDisk(): Repair | undefined {
    assert(this.current === undefined, "disks rot while no process runs");
    const filled = [...this.disks.values()].filter((disk) => disk.size > 0);
    return filled[this.random.below(filled.length)]?.rot(this.random);
  }

  /** A copy of all disks. `restoreDisks` of it later is an old backup, of nothing a wiped machine. */
  copyDisks(): DiskCopies {
    return new Map([...this.disks].map(([name, disk]) => [name, disk.copy()]));
  }

  /** Only while no process runs. */
  restoreDisks(copies: DiskCopies): void {
    assert(this.current === undefined, "disks are restored while no process runs");
    for (const name of copies.keys()) this.disks.set(name, this.disks.get(name) ?? createDisk(name));
    this.disks.clear();
    for (const [name, content] of copies) {
      const disk = createDisk(name);
      disk.restore(content);
      this.disks.set(name, disk);
    }
  }

  /** What a dead process still does reaches nothing. */
  private destroyStore(process: SimProcess, name: string): Promise<void> {
    if (process.isAlive) this.disks.delete(name);
    return Promise.resolve();
  }

  private openStore(process: SimProcess, name: string): Promise<OrderedStore> {
    const disk = this.disks.get(name) ?? createDisk(name);
    this.disks.set(name, disk);
    if (disk.isOpen) {
      const message = `cannot open the simulated store "${name}": it is open already; close it first`;
      return Promise.reject(new AetherError("E_DATA_LOCKED", message, { details: { directory: name } }));
    }
    const random = this.random.fork(`store ${name} ${process.life}`);
    const onWrite = (stage: WriteStage): void => this.onWrite(name, stage);
    return Promise.resolve(new SimStore({ world: this.world, process, disk, profile: this.disk, random, onWrite }));
  }
}

/** Databases write whole or not at all. */
function createDisk(name: string): SimDisk {
  return LOGS.includes(name) ? new SimDisk(FILE_RULES) : new SimDisk();
}
