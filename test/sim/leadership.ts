// Owns: the leadership of the real services in a simulated cluster: on every node the real LeadershipService on the
// real KvStore, work that whoever leads writes under its fence, and a record of all of it for the checkers.
// Does not own: judging it (checkers/leader-checker.ts), clients that lead among themselves (workloads/leading.ts).
import { toAetherError } from "../../src/base/errors.ts";
import type { NodeId } from "../../src/base/ids.ts";
import { ClusterViews } from "../../src/cluster/cluster-views.ts";
import { LeadershipService } from "../../src/cluster/leadership/leadership-service.ts";
import type { Group } from "../../src/consensus/group.ts";
import type { GroupDriver } from "../../src/consensus/group-driver.ts";
import type { Clock } from "../../src/env/clock.ts";
import { LEADER_KEY } from "../../src/kvstore/core/key.ts";
import type { Txn, TxnResult } from "../../src/kvstore/core/schema.ts";
import type { KvHistory } from "../../src/kvstore/kv-history.ts";
import type { KvState } from "../../src/kvstore/kv-state.ts";
import { KvStore } from "../../src/kvstore/kv-store.ts";
import type { Kv, KvWriteOptions } from "../../src/kvstore/kv.ts";
import type { ProcessEnv } from "../../src/testkit/sim/machine.ts";
import { createSimTelemetry } from "../../src/testkit/sim/sim-telemetry.ts";
import type { SimProcess } from "../../src/testkit/sim/sim-process.ts";
import type { World } from "../../src/testkit/sim/world.ts";
import type { Operation } from "./checkers/history.ts";
import type { HarnessFault } from "./planted.ts";
import { OFFICE_KEYS } from "./workloads/leading.ts";

const WORK_MS_MIN = 50;
const WORK_MS_SPAN = 300;
/** Faults last for a second or two: a leader must be missed within that. */
const PATIENCE = { beatEveryMs: 200, patienceMs: 600, rankStepMs: 100, giveUpMs: 550 };
/** Apart from those of clients. */
const FIRST_ID = 1_000_000_000;

export interface LeadershipParts {
  readonly env: ProcessEnv;
  readonly driver: GroupDriver;
  readonly kv: KvState;
  readonly history: KvHistory;
}

/** One process's part of it. */
interface Office {
  readonly process: SimProcess;
  readonly service: LeadershipService;
}

export class Leaderships {
  private readonly world: World;
  private readonly planted: HarnessFault | undefined;
  private readonly offices = new Map<NodeId, Office>();
  private readonly calls: Operation[] = [];
  private nextId = FIRST_ID;

  constructor(world: World, planted: HarnessFault | undefined) {
    this.world = world;
    this.planted = planted;
  }

  /** What the services wrote and were told. */
  get history(): readonly Operation[] {
    return this.calls;
  }

  /** One node leads, and all of these know it. */
  isSettled(nodes: readonly NodeId[]): boolean {
    const offices = nodes.flatMap((node) => this.offices.get(node) ?? []).filter(({ process }) => process.isAlive);
    const leaders = offices.filter(({ service }) => service.isLeader);
    const epoch = leaders[0]?.service.current()?.epoch;
    return leaders.length === 1 && offices.every(({ service }) => service.current()?.epoch === epoch);
  }

  /** For a process that has just opened its group. */
  open({ env, driver, kv, history }: LeadershipParts): void {
    const { process, log } = env;
    const clock = this.watched(env.clock);
    const store = new KvStore({ group: this.watchedGroup(driver), state: kv, clock, history });
    kv.onReset(() => this.world.settleSoon());
    const views = new ClusterViews({ clock, log }, store);
    const self = { node: process.node, ...driver.origin };
    const ports = {
      kv: this.recorded(process.node, store),
      group: driver,
      views,
      onFatal: (error: unknown) => {
        if (process.isAlive && !process.isStopping) this.world.fail(error);
      },
    };
    const service = new LeadershipService({ clock, telemetry: createSimTelemetry(log) }, ports, {
      self,
      patience: PATIENCE,
    });
    this.offices.set(process.node, { process, service });
    views.leader.open();
    service.start();
    this.world.settleSoon();
    this.workNowAndThen(process, { service, kv: ports.kv, holder: `${self.node}/${self.incarnation}` });
  }

  /** What is not answered in the end may have happened. */
  private workNowAndThen(
    process: SimProcess,
    { service, kv, holder }: { readonly service: LeadershipService; readonly kv: Kv; readonly holder: string },
  ): void {
    const random = this.world.random.fork(`office ${process.node} ${process.life}`);
    let count = 0;
    const next = (): void => {
      const delayMs = WORK_MS_MIN + random.next() * WORK_MS_SPAN;
      this.world.schedule({ delayMs, kind: "office", process }, () => {
        next();
        const fence = service.fence();
        const current = service.current();
        if (fence === undefined || current === undefined) return;
        count += 1;
        const tag = `${process.node}.${process.life}.${count}`;
        const key = OFFICE_KEYS[count % OFFICE_KEYS.length] ?? LEADER_KEY;
        const value = { epoch: current.epoch, holder, tag };
        const compare = this.planted === "office-unfenced" ? [] : [fence];
        // ignored: the outcome is in the record
        kv.transact({ compare, then: [{ kind: "put", key, value }], else: [] }).catch(() => undefined);
      });
    };
    next();
  }

  private recorded(node: NodeId, store: KvStore): Kv {
    return {
      get: (key, options) => store.get(key, options),
      list: (query, options) => store.list(query, options),
      watch: (prefix, handlers, options) => store.watch(prefix, handlers, options),
      transact: (txn, options) => {
        const sent = this.planted === "office-taken-blindly" ? blind(txn) : txn;
        return this.record(sent, { node, store, ...(options === undefined ? {} : { options }) });
      },
      get revision() {
        return store.revision;
      },
      get oldestRevision() {
        return store.oldestRevision;
      },
    };
  }

  private async record(
    txn: Txn,
    { node, store, options }: { readonly node: NodeId; readonly store: KvStore; readonly options?: KvWriteOptions },
  ): Promise<TxnResult> {
    const called = this.world.nextStamp();
    const what = { id: this.nextId++, node, called, action: { kind: "txn", txn } } as const;
    // Until it is known better.
    const at = this.calls.push({ ...what, kind: "unknown" }) - 1;
    try {
      const result = await store.transact(txn, options);
      this.calls[at] = { ...what, kind: "ok", returned: this.world.nextStamp(), answer: { kind: "txn", result } };
      return result;
    } catch (error) {
      if (toAetherError(error).outcome === "not-applied") {
        this.calls[at] = { ...what, kind: "failed", returned: this.world.nextStamp() };
      }
      throw error;
    }
  }

  /** Whatever the clock calls may settle a promise of the services. */
  private watched(clock: Clock): Clock {
    const told = (fire: () => void) => (): void => {
      this.world.settleSoon();
      fire();
    };
    const watched: Clock = {
      nowMs: () => clock.nowMs(),
      wallMs: () => clock.wallMs(),
      setTimer: (delayMs, fire) => clock.setTimer(delayMs, told(fire)),
      defer: (fire) => clock.defer(told(fire)),
      nextTurn: (fire) => clock.nextTurn(told(fire)),
      sleep: (delayMs, signal) => this.sleep(watched, delayMs, signal),
    };
    return watched;
  }

  private sleep(clock: Clock, delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = clock.setTimer(delayMs, resolve);
      signal?.addEventListener("abort", () => {
        timer.cancel();
        reject(signal.reason as Error);
      });
    });
  }

  private watchedGroup(driver: GroupDriver): Group {
    return {
      status: () => driver.status(),
      propose: (command, done) => driver.propose(command, (outcome) => {
        this.world.settleSoon();
        done(outcome);
      }),
      readBarrier: (done) => driver.readBarrier((outcome) => {
        this.world.settleSoon();
        done(outcome);
      }),
    };
  }
}

/** A planted fault: the leadership is taken whoever has it. */
function blind(txn: Txn): Txn {
  return txn.then.some(({ kind, key }) => kind === "put" && key === LEADER_KEY) ? { ...txn, compare: [] } : txn;
}

