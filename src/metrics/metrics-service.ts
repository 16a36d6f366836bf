// Owns: the way of the metrics: every second each node makes a report and sends it to the leader, which makes a
// snapshot of all and sends it to everybody; every node keeps what it gets.
// M3  Nothing of this is written to the store.
// M4  A message that is no report or snapshot is dropped and counted; its connection goes on.
// Does not own: what a report says (collector.ts), how reports become one (core/snapshot.ts).
import { unreachable } from "../base/assert.ts";
import type { NodeId } from "../base/ids.ts";
import { SECOND_MS } from "../base/units.ts";
import type { MembershipService } from "../cluster/membership/membership-service.ts";
import type { LeadershipService } from "../cluster/leadership/leadership-service.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Counter, Telemetry } from "../env/telemetry.ts";
import type { Channel, PeerMessaging } from "../net/peer-messaging.ts";
import { readMetrics } from "./core/metrics-wire.ts";
import { encodeReport, type HeardReport, type NodeReport, parseReport } from "./core/report.ts";
import type { LeaderWordPort } from "./core/leader-word.ts";
import { aggregate, encodeSnapshot, type HeardSnapshot, parseSnapshot } from "./core/snapshot.ts";
import type { Collector } from "./collector.ts";
import type { MetricsConfig } from "./metrics-config.ts";
import type { MetricsStore } from "./metrics-store.ts";

const EVERY_MS = SECOND_MS;

export interface MetricsServicePorts {
  readonly messaging: PeerMessaging;
  readonly leadership: Pick<LeadershipService, "current" | "isLeader">;
  readonly membership: Pick<MembershipService, "nodes">;
  readonly collector: Pick<Collector, "take">;
  readonly store: MetricsStore;
  readonly word: LeaderWordPort;
}

export class MetricsService {
  private readonly clock: Clock;
  private readonly refused: Counter;
  private readonly ports: MetricsServicePorts;
  private readonly self: NodeId;
  private readonly collect: MetricsConfig["collect"];
  private readonly channel: Channel;
  /** The latest of each node. Kept by every node: whoever becomes the leader knows those that it has got. */
  private readonly reports = new Map<NodeId, HeardReport>();
  private seq = 0;
  private nextMs = 0;
  private timer: Timer | undefined;

  /** Attaches to the channel "metrics"; nothing is sent before `start`. */
  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: MetricsServicePorts,
    { node, collect }: { readonly node: NodeId } & MetricsConfig,
  ) {
    this.clock = env.clock;
    this.ports = ports;
    this.self = node;
    this.collect = collect;
    this.refused = env.telemetry.counter({
      name: "aether_metrics_refused_total",
      help: "Messages of peers on the channel of metrics that were no report or snapshot, and were dropped.",
    });
    this.channel = ports.messaging.channel("metrics");
    this.channel.onMessage((from, payload) => this.receive(from, payload));
    ports.messaging.onPeer(({ kind, node: peer }) => {
      // A node that comes back says everything anew.
      if (kind === "down" && !this.isMember(peer)) this.reports.delete(peer);
    });
  }

  start(): void {
    this.nextMs = this.clock.nowMs();
    this.planNext();
  }

  close(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  /** Once a second by the clock, whatever a turn takes; after a pause not all that were missed. */
  private planNext(): void {
    const nowMs = this.clock.nowMs();
    this.nextMs = Math.max(this.nextMs + EVERY_MS, nowMs);
    this.timer = this.clock.setTimer(this.nextMs - nowMs, () => {
      this.planNext();
      this.report();
    });
  }

  private report(): void {
    const nowMs = this.clock.nowMs();
    const { collector, leadership, store } = this.ports;
    const report = collector.take(nowMs);
    // Whether this node stands still is looked at whatever it tells to others.
    store.noteOwn(report);
    if (this.collect === "off") return;
    const leader = leadership.current();
    if (leadership.isLeader && leader !== undefined) this.lead(report, leader.epoch, nowMs);
    // One that is not sent is followed by the next one.
    else if (leader !== undefined) this.channel.send(leader.node, encodeReport(report));
  }

  private lead(own: NodeReport, epoch: number, nowMs: number): void {
    const nodes = this.ports.membership.nodes.filter(({ status }) => status !== "gone").map(({ node }) => node);
    for (const node of this.reports.keys()) if (!nodes.includes(node)) this.reports.delete(node);
    this.reports.set(this.self, { node: this.self, report: own, atMs: nowMs });
    const snapshot = aggregate({ leader: this.self, epoch, seq: this.seq++, nowMs, nodes, reports: this.reports });
    // Before its word: what stands is judged by this snapshot as well.
    this.ports.store.keep(snapshot);
    const payload = encodeSnapshot(snapshot, this.ports.word.speak(epoch));
    this.ports.store.tell();
    for (const peer of this.ports.messaging.connected) this.channel.send(peer, payload);
  }

  private receive(from: NodeId, payload: Uint8Array): void {
    const message = readMetrics(payload);
    if (message === undefined) return this.refused.add(1);
    switch (message.kind) {
      case "report":
        return this.takeReport(from, parseReport(message.fields));
      case "snapshot":
        return this.takeSnapshot(from, parseSnapshot(message.fields));
      default:
        return unreachable(message.kind);
    }
  }

  private takeReport(from: NodeId, report: NodeReport | undefined): void {
    if (report === undefined) return this.refused.add(1);
    // Guests are no part of the cluster; there may be many of them over time.
    if (this.isMember(from)) this.reports.set(from, { node: from, report, atMs: this.clock.nowMs() });
  }

  private takeSnapshot(from: NodeId, heard: HeardSnapshot | undefined): void {
    if (heard === undefined) return this.refused.add(1);
    const { word, ...snapshot } = heard;
    // One that no longer leads, or whose leadership is not known here yet, is followed by another in a second.
    if (this.ports.leadership.current()?.node !== from || snapshot.leader !== from) return;
    this.ports.store.keep(snapshot);
    if (word !== undefined) this.ports.word.hear(word);
    this.ports.store.tell();
  }

  private isMember(node: NodeId): boolean {
    return this.ports.membership.nodes.some((one) => one.node === node && one.status !== "gone");
  }
}
