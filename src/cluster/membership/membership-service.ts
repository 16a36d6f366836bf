// Owns: this node's row in `nodes/`, the gossip of suspicions, and the live view of who is there.
// Does not own: writing a node gone (the leader), placing instances, the voter list (consensus).
import type { NodeId, NodeUid } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import { TaskScope } from "../../base/task-scope.ts";
import type { Clock } from "../../env/clock.ts";
import type { Counter, Log, Telemetry } from "../../env/telemetry.ts";
import type { Channel, PeerEvent, PeerMessaging } from "../../net/peer-messaging.ts";
import { UID_UNKNOWN } from "../../consensus/core/membership.ts";
import type { Group, GroupMembership, Member } from "../../consensus/group.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type { ClusterViews } from "../cluster-views.ts";
import { FAILURE_DETECTOR_DEFAULTS, FailureDetector, type DetectorEvent } from "./core/failure-detector.ts";
import { ClusterTime } from "./core/cluster-time.ts";
import { encodeGossip, type Gossip, type GossipCatchUp, parseGossip } from "./core/gossip.ts";
import { isSameValue, storable } from "../core/plain-value.ts";
import { settingDifferences, type SettingDifference, type SharedSettings } from "./core/setting-differences.ts";
import { dutyOf, isDrainedOnRequest, type NodeStage } from "./core/node-duty.ts";
import type { NodeCapacity, NodeDutyState, NodeLife, NodeStateRow } from "../core/rows.ts";
import type { Row } from "../row-view.ts";
import type { CallTallies } from "../rollouts/call-tallies.ts";
import { StoreLoop } from "../store-loop.ts";

export interface MembershipConfig {
  readonly node: NodeId;
  readonly uid: NodeUid;
  readonly incarnation: number;
  readonly peerAddress: string;
  readonly apiAddress: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly capacity: NodeCapacity;
  /** Settings of this node that have to be equal on all of them. */
  readonly settings: SharedSettings;
}

export interface MembershipPorts {
  readonly kv: Kv;
  readonly messaging: PeerMessaging;
  readonly group: Pick<Group, "status"> & Pick<GroupMembership, "membership" | "onMembership">;
  readonly views: Pick<ClusterViews, "nodes" | "intents" | "slices" | "instancesOn">;
  readonly tallies: Pick<CallTallies, "tell" | "hear">;
  /** Jobs that this node has: it is not drained before they have left it. */
  readonly jobsHere?: () => number;
  readonly onFatal: (error: unknown) => void;
}

/** `suspected` wins over what the row says, `gone` over both. A member without a row is joining. */
export type NodeStatus = NodeDutyState | "suspected";

export interface NodeView {
  readonly node: NodeId;
  readonly isVoter: boolean;
  /** Its disk was declared lost: a new node of this name may take its place. */
  readonly isLost: boolean;
  readonly status: NodeStatus;
  /** Names its data directory; undefined while the name is only reserved. */
  readonly uid: NodeUid | undefined;
  /** Where peers reach it. */
  readonly peerAddress: string | undefined;
  /** What the node last wrote of itself; undefined before its first time on duty. */
  readonly row: NodeStateRow | undefined;
  /** Wall time at which this node last heard of it; undefined when it never did. */
  readonly lastSeenMs: number | undefined;
  /** Slots it has applied, as it said last. */
  readonly applied: number | undefined;
  /** How it gets what it misses, while it is far behind. */
  readonly catchUp: GossipCatchUp | undefined;
}

type FoundRow = Row<NodeStateRow & { readonly node: NodeId }>;

const GOSSIP_EVERY_MS = 250;
/** The own row is looked at this often even when nothing seems to have changed. */
const OWN_ROW_CHECK_MS = 5 * SECOND_MS;
const PEERS_POLL_MS = 20;
const WRITE_TIMEOUT_MS = 2 * SECOND_MS;
/** The leader and a node that disagree whether it is gone must not write against each other without a pause. */
const RETURN_EVERY_MS = SECOND_MS;

export class MembershipService {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly garbled: Counter;
  private readonly ports: MembershipPorts;
  private readonly config: MembershipConfig;
  private readonly channel: Channel;
  private readonly detector: FailureDetector;
  private readonly ownRowLoop: StoreLoop;
  private readonly scope: TaskScope;
  private readonly listeners: (() => void)[] = [];
  private readonly time = new ClusterTime();
  private isClockOff = false;
  private readonly progress = new Map<NodeId, Pick<Gossip, "applied" | "catchUp">>();
  private stage: NodeStage = "joining";
  private returnedAtMs: number | undefined;
  /** Differences that the log has: each is one line while it lasts. */
  private toldDifferences: ReadonlySet<string> = new Set();

  /** Attaches to the channel "cluster"; nothing is sent or written before `start`. */
  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: MembershipPorts,
    config: MembershipConfig,
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.garbled = env.telemetry.counter({
      name: "aether_cluster_garbled_total",
      help: "Gossip messages of peers that did not parse and were dropped.",
    });
    this.ports = ports;
    this.config = config;
    this.detector = new FailureDetector({ ...FAILURE_DETECTOR_DEFAULTS, self: config.node });
    this.ownRowLoop = new StoreLoop(env, "membership", {
      look: async (signal) => await this.writeOwnRow(signal) ? OWN_ROW_CHECK_MS : GOSSIP_EVERY_MS,
      onFatal: ports.onFatal,
    });
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
    this.channel = ports.messaging.channel("cluster");
    this.channel.onMessage((from, payload) => this.onGossip(from, payload));
    ports.messaging.onPeer((event) => this.onPeer(event));
    ports.group.onMembership(() => this.onMembers());
    ports.views.nodes.subscribe(() => this.onRows());
    ports.views.intents.subscribe(() => {
      this.ownRowLoop.notify();
      this.notify();
    });
  }

  start(): void {
    this.onMembers();
    for (const node of this.ports.messaging.connected) this.step({ kind: "up", node });
    this.scope.spawn("gossip", (signal) => this.gossip(signal));
    this.ownRowLoop.start();
  }

  /** What this node does from now on; its row says so as soon as the store takes it. */
  setStage(stage: NodeStage): void {
    this.stage = stage;
    this.ownRowLoop.notify();
  }

  /** Every member, and every other node whose row is there still; sorted by id. */
  get nodes(): readonly NodeView[] {
    const ids = new Set<NodeId>(this.members.map((member) => member.node));
    for (const row of this.ports.views.nodes.rows().values()) ids.add(row.value.node);
    return [...ids].sort().map((node) => this.viewOf(node));
  }

  /** Settings that have to be equal on all nodes and are not; nodes that are gone do not count. */
  get differences(): readonly SettingDifference[] {
    const present = this.nodes.filter(({ status }) => status !== "gone");
    return settingDifferences(present.map(({ node, row }) => ({ node, settings: row?.settings })));
  }

  /** Wall time as most nodes have it: what is planned by the time of day does not go by one clock that is off. */
  wallMs(): number {
    return this.time.wallMs(this.clock.wallMs(), this.clock.nowMs());
  }

  /** By how much the node's wall clock is ahead of what most nodes show; 0 while it counts as right. */
  get clockOffMs(): number {
    return this.time.offMs(this.clock.wallMs(), this.clock.nowMs());
  }

  /** Whether calls may go there: on duty or being drained by its row, not about to stop, and not suspected now. */
  isServing(node: NodeId): boolean {
    const row = this.rowOf(node)?.value;
    const status = this.statusOf(node, row?.state);
    return status === "on-duty" || (status === "draining" && row !== undefined && isDrainedOnRequest(row));
  }

  /** Nodes that the leader may write gone now. */
  get goneCandidates(): ReadonlySet<NodeId> {
    const gone = new Set(this.detector.goneCandidates);
    // A node that was removed is gone, whatever it still does.
    for (const { value } of this.ports.views.nodes.rows().values()) {
      if (!this.isMember(value.node)) gone.add(value.node);
    }
    return gone;
  }

  /** How long a majority has suspected the node; undefined while it does not. A node that was removed: for ever. */
  suspectedForMs(node: NodeId): number | undefined {
    return this.isMember(node) ? this.detector.suspectedForMs(node, this.clock.nowMs()) : Number.POSITIVE_INFINITY;
  }

  /**
   * Resolves once each peer that can be met has applied what is applied here now, so that none sends anything more
   * because of what was before. Gossip comes after what was sent before it. @throws what `signal` aborts with
   */
  async untilPeersHaveApplied(signal: AbortSignal): Promise<void> {
    const { applied } = this.ports.group.status();
    const isBehind = (peer: NodeId): boolean => {
      return !this.detector.suspects.has(peer) && (this.progress.get(peer)?.applied ?? 0) < applied;
    };
    while ([...this.ports.messaging.connected].some(isBehind)) await this.clock.sleep(PEERS_POLL_MS, signal);
  }

  private get members(): readonly Member[] {
    return this.ports.group.membership().members;
  }

  /** Whether it belongs to the cluster, be it there now or not. */
  isMember(node: NodeId): boolean {
    const { members } = this;
    // A node that is joining knows nothing of the others yet.
    return members.length === 0 || members.some((member) => member.node === node);
  }

  rowOf(node: NodeId): FoundRow | undefined {
    return this.ports.views.nodes.get(formatKey({ kind: "node-state", node }));
  }

  /** Whether that life of a node has ended for certain, by what was written after this revision of the store. */
  hasEnded({ node, uid, incarnation }: NodeLife, revision: number): boolean {
    const { nodes } = this.ports.views;
    const row = this.rowOf(node);
    if (row === undefined) {
      const isDamaged = nodes.damaged.has(formatKey({ kind: "node-state", node }));
      return nodes.isComplete && nodes.revision >= revision && !isDamaged;
    }
    if (row.modRevision < revision) return false;
    const isSameLife = row.value.uid === uid && row.value.incarnation === incarnation;
    return !isSameLife || row.value.state === "gone";
  }

  /** Called when a status may have changed. The listener must not throw and not write. */
  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  async close(): Promise<void> {
    await Promise.all([this.ownRowLoop.close(), this.scope.close()]);
  }

  private viewOf(node: NodeId): NodeView {
    const row = this.rowOf(node)?.value;
    // A lost voter and the node that is to take its place share a name: the new one is the one that can be met.
    const named = this.members.filter((member) => member.node === node);
    const member = named.find(({ isLost }) => !isLost) ?? named[0];
    return {
      node,
      isVoter: named.some(({ isVoter }) => isVoter),
      isLost: named.some(({ isLost }) => isLost),
      status: this.statusOf(node, row?.state),
      uid: member?.uid === UID_UNKNOWN ? undefined : member?.uid,
      peerAddress: member?.address,
      row,
      lastSeenMs: this.lastSeenMs(node),
      ...this.progressOf(node),
    };
  }

  private progressOf(node: NodeId): Pick<NodeView, "applied" | "catchUp"> {
    if (node !== this.config.node) return this.progress.get(node) ?? { applied: undefined, catchUp: undefined };
    const { applied, catchUp } = this.ports.group.status();
    return { applied, catchUp };
  }

  private statusOf(node: NodeId, state: NodeDutyState | undefined): NodeStatus {
    if (state === "gone" || (state !== undefined && !this.isMember(node))) return "gone";
    if (this.detector.suspects.has(node)) return "suspected";
    return state ?? "joining";
  }

  private lastSeenMs(node: NodeId): number | undefined {
    if (node === this.config.node) return this.clock.wallMs();
    const heardAtMs = this.detector.heardAtMs(node);
    return heardAtMs === undefined ? undefined : this.clock.wallMs() - (this.clock.nowMs() - heardAtMs);
  }

  private onGossip(from: NodeId, payload: Uint8Array): void {
    const gossip = parseGossip(payload);
    if (gossip === undefined) {
      this.garbled.add(1);
      this.channel.refuse(from, "this is no gossip");
      return;
    }
    this.ports.tallies.hear(from, gossip.tallies);
    this.progress.set(from, { applied: gossip.applied, catchUp: gossip.catchUp });
    if (gossip.wallMs !== undefined) this.time.hear(from, gossip.wallMs, this.clock.nowMs());
    this.step({ kind: "gossip", node: from, suspects: gossip.suspects });
  }

  private onPeer(event: PeerEvent): void {
    if (event.kind === "down") this.progress.delete(event.node);
    this.step(event);
  }

  private onMembers(): void {
    const { members, voters } = this.ports.group.membership();
    const names = members.map(({ node }) => node);
    if (names.length > 0) this.time.keep(new Set(names));
    this.step({ kind: "members", members: names, voters });
    this.notify();
  }

  private step(event: DetectorEvent): void {
    // The connections of a node that ends say nothing about the others.
    if (this.scope.signal.aborted) return;
    const before = this.detector.suspects;
    if (!this.detector.step(event, this.clock.nowMs())) return;
    this.logSuspicions(before);
    this.notify();
  }

  private logSuspicions(before: ReadonlySet<NodeId>): void {
    const now = this.detector.suspects;
    for (const peer of now) if (!before.has(peer)) this.log.warn({ event: "node.suspected", peer });
    for (const peer of before) if (!now.has(peer)) this.log.info({ event: "node.seen", peer });
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }

  private onRows(): void {
    this.ownRowLoop.notify();
    this.logDifferences();
    this.notify();
  }

  /** Names both values: whoever reads the log of either node knows what to make equal. */
  private logDifferences(): void {
    const told = new Set<string>();
    for (const { setting, values } of this.differences) {
      const here = this.config.settings[setting];
      for (const { node: peer, value: there } of values) {
        if (here === undefined || there === here) continue;
        const difference = `${setting} ${peer} ${there}`;
        told.add(difference);
        if (this.toldDifferences.has(difference)) continue;
        this.log.warn({ event: "node.settings-differ", setting, here, peer, there });
      }
    }
    this.toldDifferences = told;
  }

  private async gossip(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.step({ kind: "quorum", hasQuorum: this.ports.group.status().hasQuorum });
      const suspects = [...this.detector.suspects].sort();
      const { applied, catchUp } = this.ports.group.status();
      const payload = encodeGossip({
        incarnation: this.config.incarnation, suspects, applied, catchUp, tallies: this.ports.tallies.tell(),
        wallMs: this.clock.wallMs(),
      });
      this.logClock();
      // A message that is not sent now is followed by a newer one; silence is exactly what the others should see.
      for (const peer of this.ports.messaging.connected) this.channel.send(peer, payload);
      await this.clock.sleep(GOSSIP_EVERY_MS, signal);
    }
  }

  private logClock(): void {
    const offMs = this.clockOffMs;
    if (this.isClockOff === (offMs !== 0)) return;
    this.isClockOff = offMs !== 0;
    if (this.isClockOff) this.log.warn({ event: "node.clock-off", offMs, reason: "most nodes show another time" });
    else this.log.info({ event: "node.clock-agrees" });
  }

  /** True when the row says all that it is to say; false when it is to be looked at again soon. */
  private async writeOwnRow(signal: AbortSignal): Promise<boolean> {
    const found = this.rowOf(this.config.node);
    const wanted = this.ownRow(found);
    // When the last instance or job has left is to be seen in time.
    const isLeaving = wanted.state === "draining" && wanted.isStopping !== true;
    if (isLeaving) this.ports.views.slices.requestProgress();
    if (found !== undefined && isSameOwnRow(found.value, wanted)) return !isLeaving;
    if (!this.ports.group.status().isReady) return false;
    if (found?.value.state === "gone" && !this.mayReturn(found.value)) return false;
    const key = formatKey({ kind: "node-state", node: this.config.node });
    // A damaged row of its own a node writes anew: nobody else would.
    const { modRevision } = found ?? this.ports.views.nodes.damaged.get(key) ?? { modRevision: 0 };
    const result = await this.ports.kv.transact({
      compare: [
        unchanged(key, modRevision),
        // A node that does not know yet that it is to be drained must not take instances first.
        unchanged(this.intentKey, this.intentRevision()),
      ],
      then: [{ kind: "put", key, value: storable(wanted) }],
      else: [],
    }, { signal, timeoutMs: WRITE_TIMEOUT_MS });
    if (result.succeeded) this.log.info({ event: "node.duty", duty: wanted.state });
    return result.succeeded && !isLeaving;
  }

  /** Whether to contradict the leader, who wrote this living node gone: only once the others can hear it again. */
  private mayReturn(row: NodeStateRow): boolean {
    const nowMs = this.clock.nowMs();
    if (this.detector.isIsolated || nowMs - (this.returnedAtMs ?? -Infinity) < RETURN_EVERY_MS) return false;
    this.returnedAtMs = nowMs;
    this.log.warn({ event: "node.was-declared-gone", goneSinceMs: row.sinceMs });
    return true;
  }

  private ownRow(found: FoundRow | undefined): NodeStateRow {
    const { uid, incarnation, peerAddress, apiAddress, labels, capacity, settings } = this.config;
    const { intents } = this.ports.views;
    const { isDrainWanted } = this;
    const stage = this.stage === "serving" && !intents.isComplete ? "joining" : this.stage;
    const duty = dutyOf(stage, { isDrainWanted, isEmpty: this.isEmpty(found) });
    const sinceMs = this.clock.wallMs();
    return { ...duty, uid, incarnation, peerAddress, apiAddress, labels, capacity, settings, sinceMs };
  }

  /** Whether somebody wants this node drained, as far as it knows. */
  get isDrainWanted(): boolean {
    return this.ports.views.intents.get(this.intentKey)?.value.want === "drained";
  }

  /**
   * Whether this node has no instance and can get none: every LOAD is guarded by the node's row, so none came after the
   * write that made it `draining`, and all that came before are in the view.
   */
  private isEmpty(found: FoundRow | undefined): boolean {
    if (found === undefined || !isDrainedOnRequest(found.value)) return false;
    const { slices } = this.ports.views;
    const isSeen = found.value.state === "drained" || slices.revision >= found.modRevision;
    const isLeft = this.ports.views.instancesOn(this.config.node) === 0 && (this.ports.jobsHere?.() ?? 0) === 0;
    return slices.isComplete && isSeen && isLeft;
  }

  private get intentKey(): KeyText {
    return formatKey({ kind: "node-intent", node: this.config.node });
  }

  private intentRevision(): number {
    const { intents } = this.ports.views;
    return (intents.get(this.intentKey) ?? intents.damaged.get(this.intentKey))?.modRevision ?? 0;
  }
}

function isSameOwnRow(found: NodeStateRow & { readonly node: NodeId }, wanted: NodeStateRow): boolean {
  return isSameValue({ ...found, node: undefined, sinceMs: 0 }, { ...wanted, sinceMs: 0 });
}
