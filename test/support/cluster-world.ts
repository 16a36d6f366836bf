// Owns: several nodes' real cluster services over ONE real store, in-memory messaging and scripted instance hosts, on a
// manual clock. A killed node's services end without a write; what it had proposed may still be applied.
import { present } from "../../src/base/assert.ts";
import { parseNodeId, parseNodeUid, type NodeId } from "../../src/base/ids.ts";
import { GiB } from "../../src/base/units.ts";
import type { Telemetry } from "../../src/env/telemetry.ts";
import { ClusterServices } from "../../src/cluster/cluster-services.ts";
import { ClusterViews } from "../../src/cluster/cluster-views.ts";
import type { GroupStatus, MembershipView } from "../../src/consensus/group.ts";
import { formatKey, type KeyText } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import type { ResolvedBlueprint } from "../../src/slices/core/blueprint.ts";
import type { InstanceRow } from "../../src/slices/core/instance-row.ts";
import { storable } from "../../src/cluster/core/plain-value.ts";
import { createLocalKv, SILENT_LOG, type LocalKv } from "./local-kv.ts";
import { ManualClock } from "./manual-clock.ts";
import { MemoryHub } from "./memory-messaging.ts";
import { ScriptedHost } from "./scripted-host.ts";
import { LogLevels } from "../../src/base/log-levels.ts";
import { NO_TRACING } from "../../src/testkit/sim/sim-telemetry.ts";

export const SILENT_TELEMETRY: Telemetry = {
  log: SILENT_LOG,
  counter: () => ({ add: () => undefined }),
  gauge: () => ({ set: () => undefined }),
  histogram: () => ({ observe: () => undefined }),
  levels: new LogLevels("info"),
  tracing: NO_TRACING,
  exposition: () => Promise.resolve(""),
};

export interface FakeNode {
  readonly id: NodeId;
  readonly services: ClusterServices;
  readonly host: ScriptedHost;
}

type KvOf = (name: string, kv: Kv) => Kv;

export class ClusterWorld {
  readonly clock: ManualClock;
  readonly local: LocalKv;
  /** What leaders said of rollouts that do not get on. */
  readonly late: string[] = [];
  readonly fatal: unknown[] = [];
  readonly nodes = new Map<string, FakeNode>();
  /** What these nodes say that they have applied; the others say the truth. */
  readonly saysApplied = new Map<string, number>();
  private readonly hub: MemoryHub;
  /** The voters. */
  private names: readonly string[];
  private readonly memberListeners: ((view: MembershipView) => void)[] = [];
  private readonly observer: ClusterViews;
  private readonly kvOf: KvOf;
  private incarnation = 0;
  private mostRowsSeen = 0;

  private constructor(clock: ManualClock, local: LocalKv, names: readonly string[], kvOf: KvOf) {
    this.clock = clock;
    this.local = local;
    this.names = names;
    this.kvOf = kvOf;
    this.hub = new MemoryHub(clock);
    this.observer = new ClusterViews({ clock, log: SILENT_LOG }, local.kv);
    this.observer.slices.subscribe(() => {
      this.mostRowsSeen = Math.max(this.mostRowsSeen, this.observer.slices.rows().size);
    });
    this.observer.open();
  }

  /** `kvOf` gives a node another store than the one they share, which it is given. */
  static async open(
    names: readonly string[] = ["n1", "n2", "n3"],
    kvOf: KvOf = (_name, kv) => kv,
  ): Promise<ClusterWorld> {
    const clock = new ManualClock();
    const opening = createLocalKv({ clock });
    await clock.settle();
    const world = new ClusterWorld(clock, await opening, names, kvOf);
    for (const name of names) world.start(name);
    await world.until(() => world.leader() !== undefined && world.dutyOf("on-duty").length === names.length, 5_000);
    return world;
  }

  start(name: string): FakeNode {
    const id = parseNodeId(name);
    const host = new ScriptedHost(this.clock);
    const services = new ClusterServices(
      { clock: this.clock, telemetry: SILENT_TELEMETRY },
      {
        kv: this.kvOf(name, this.local.kv),
        messaging: this.hub.join(id),
        group: {
          status: () => this.statusOf(name),
          membership: () => this.membership(),
          onMembership: (listener) => this.memberListeners.push(listener),
        },
        calls: { call: () => Promise.reject(new RangeError("nobody is called in this world")) },
        onLateRollout: ({ slice, message }) => this.late.push(`${slice}: ${message}`),
        onFatal: (error) => this.fatal.push(error),
      },
      {
        node: id,
        uid: parseNodeUid(name.padEnd(16, "0")),
        incarnation: ++this.incarnation,
        peerAddress: `ws://${name}`,
        apiAddress: `http://${name}`,
        labels: {},
        capacity: { cpus: 2, memoryBytes: 4 * GiB },
        settings: {},
      },
    );
    services.start(host);
    const node = { id, services, host };
    this.nodes.set(name, node);
    return node;
  }

  /** Makes these nodes, and no others, the members; all of them vote. */
  setMembers(names: readonly string[]): void {
    this.names = names;
    for (const listener of this.memberListeners) listener(this.membership());
  }

  node(name: string): FakeNode {
    return present(this.nodes.get(name), "the node runs");
  }

  /** As SIGKILL: no write, no goodbye. */
  async kill(name: string): Promise<void> {
    const { id, services } = this.node(name);
    this.nodes.delete(name);
    this.hub.leave(id);
    await this.settled(services.close());
  }

  /** The node goes on, but nobody hears it and it hears nobody. */
  cutOff(name: string): void {
    this.hub.cut(this.node(name).id);
  }

  rejoin(name: string): void {
    this.hub.mend(this.node(name).id);
  }

  /** As SIGTERM. */
  async stop(name: string): Promise<void> {
    const { id, services } = this.node(name);
    await this.settled(services.drainAndStop());
    await this.settled(services.close());
    this.hub.leave(id);
    this.nodes.delete(name);
  }

  async close(): Promise<void> {
    for (const { services } of this.nodes.values()) await this.settled(services.close());
    await this.settled(this.observer.close());
    await this.settled(this.local.close());
  }

  async apply(blueprint: ResolvedBlueprint): Promise<void> {
    const { name, revision } = blueprint;
    await this.settled(this.local.kv.transact({
      compare: [],
      then: [
        { kind: "put", key: formatKey({ kind: "blueprint", name, revision }), value: storable(blueprint) },
        { kind: "put", key: formatKey({ kind: "blueprint-current", name }), value: { revision } },
      ],
      else: [],
    }));
  }

  /** Writes a row as nobody else would. */
  async write(key: KeyText, value: unknown): Promise<void> {
    await this.settled(this.local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] }));
  }

  async remove(name: string): Promise<void> {
    const key = formatKey({ kind: "blueprint-current", name });
    await this.settled(this.local.kv.transact({ compare: [], then: [{ kind: "delete", key }], else: [] }));
  }

  /** The name of the node that leads by its own account, of those that run. */
  leader(): string | undefined {
    return [...this.nodes].find(([, { services }]) => services.leadership.isLeader)?.[0];
  }

  dutyOf(state: string): readonly string[] {
    const rows = [...this.observer.nodes.rows().values()];
    return rows.filter(({ value }) => value.state === state).map(({ value }) => value.node);
  }

  /** The rows of instances as `n1 orders/0 ACTIVE`, sorted. */
  rows(): readonly string[] {
    const rows = [...this.observer.slices.rows().values()];
    return rows.map(({ value: { node, index, row } }) => `${node} ${row.slice}/${index} ${row.state}`).sort();
  }

  instanceRows(): readonly InstanceRow[] {
    return [...this.observer.slices.rows().values()].map(({ value }) => value.row);
  }

  /** The most rows of instances that there ever were at once. */
  get mostRows(): number {
    return this.mostRowsSeen;
  }

  /** The rows that are ACTIVE. */
  active(slice: string): readonly string[] {
    return this.rows().filter((row) => row.endsWith(" ACTIVE") && row.includes(` ${slice}/`));
  }

  /** The artifact of each instance of a slice. */
  artifacts(slice: string): readonly string[] {
    const rows = [...this.observer.slices.rows().values()];
    return rows.filter(({ value }) => value.row.slice === slice).map(({ value }) => value.artifact);
  }

  /** The row of a slice's rollout. */
  rollout(slice: string) {
    return [...this.observer.rollouts.rows().values()].find(({ value }) => value.slice === slice)?.value.row;
  }

  row(node: string, slice: string) {
    const rows = [...this.observer.slices.rows().values()];
    return rows.find(({ value }) => value.node === node && value.row.slice === slice)?.value.row;
  }

  endpoints(): readonly string[] {
    const rows = [...this.observer.endpoints.rows().values()];
    return rows.map(({ value }) => `${value.node} ${value.slice}/${value.index} ${value.method}`).sort();
  }

  async until(isReached: () => boolean, limitMs: number): Promise<number> {
    try {
      return await this.clock.advanceUntil(isReached, limitMs);
    } catch (error) {
      throw new RangeError(`not reached within ${limitMs} ms; rows: ${this.rows().join(", ")}`, { cause: error });
    }
  }

  private statusOf(name: string): GroupStatus {
    const status = this.local.group.status();
    return { ...status, applied: this.saysApplied.get(name) ?? status.applied };
  }

  private membership(): MembershipView {
    const voters = this.names.map(parseNodeId);
    const members = voters.map((node) => ({
      node,
      uid: parseNodeUid(node.padEnd(16, "0")),
      address: `ws://${node}`,
      isVoter: true,
      isLost: false,
    }));
    return { members, voters, pending: undefined, version: 1, supported: new Map(), isSelfRemoved: false };
  }

  async settled<T>(work: Promise<T>): Promise<T> {
    return await this.clock.settled(work, 120_000);
  }
}
