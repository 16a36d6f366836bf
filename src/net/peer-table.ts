// Owns: which connection is THE connection to a peer: dialing, judging hellos, replacing, and saying why not.
// Does not own: messages and their queues, who the members are.
//
// Of two nodes the one with the lower id dials, the other accepts: there is never a second connection to choose from,
// except when a peer lost its end earlier than we did. Then the new one replaces the old one, once it is up.
// A node that starts knocks where it must wait to be dialed: it is refused, and dialed at once, by a peer that would
// otherwise notice it only at its next attempt.
// A node that is no member yet, or has reached nobody for a while, is a guest: the others may not know its address, so
// it dials everybody. Where both ends dialed, the connection of the lower id stays.
import { assert, present } from "../base/assert.ts";
import { toAetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import { MINUTE_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Connection, NetworkPort } from "../env/network.ts";
import type { Log } from "../env/telemetry.ts";
import type { FrameMessage } from "./core/frame.ts";
import {
  alreadyConnected,
  type ConnectedPeer,
  type DialTarget,
  type Hello,
  isRegularDirection,
  judgeHello,
} from "./core/handshake.ts";
import { RepeatFilter } from "./core/repeat-filter.ts";
import type { NetMetrics } from "./metrics.ts";
import { PeerDialer } from "./peer-dialer.ts";
import { describeEnd, type LinkEnd, PeerLink } from "./peer-link.ts";

/** Connections that have not yet introduced themselves; the next one is closed. A cluster has far fewer nodes. */
const STRANGERS_MAX = 64;
/** Nodes that are not known and are connected all the same: to join, or to be told that they were removed. */
const GUESTS_MAX = 16;
/** Whoever should dial this node would have done so by now, unless it does not know it any more. */
const LONELY_MS = 3_000;
const SAY_AGAIN_MS = MINUTE_MS / 2;
const SAID_KEYS_MAX = 256;

/** Members and the addresses at which each may be reached, the likeliest first. */
export type PeerAddresses = ReadonlyMap<NodeId, readonly string[]>;

export interface PeerTableConfig {
  readonly own: Omit<Hello, "isGuest">;
  /** Addresses where a guest asks its way in besides those of the members. */
  readonly join: readonly string[];
  readonly frameBytesMax: number;
}

export interface PeerTablePorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: NetworkPort;
  readonly log: Log;
  readonly metrics: NetMetrics;
}

/** What the table tells; per peer strictly up, messages, down. */
export interface PeerTableListener {
  onUp(node: NodeId, link: PeerLink): void;
  onMessages(node: NodeId, messages: readonly FrameMessage[], frameBytes: number): void;
  onDown(node: NodeId): void;
}

interface Candidate {
  readonly link: PeerLink;
  /** Whom we dialed; undefined for an accepted connection. */
  readonly dialed: Dialed | undefined;
}

/** A knock has no dialer: it is made once, and nothing depends on it. */
type Dialed = DialTarget & { readonly dialer: PeerDialer | undefined };

interface Doorway {
  readonly dialer: PeerDialer;
  /** Who answered there last. */
  met: NodeId | undefined;
}

export class PeerTable {
  private readonly ports: PeerTablePorts;
  private readonly config: PeerTableConfig;
  private readonly listener: PeerTableListener;
  private readonly said = new RepeatFilter(SAY_AGAIN_MS, SAID_KEYS_MAX);
  private readonly dialers = new Map<NodeId, PeerDialer>();
  /** Dials so far. */
  private readonly dials = new Map<NodeId, number>();
  private readonly doorways = new Map<string, Doorway>();
  /** Every link that has not ended. */
  private readonly candidates = new Map<PeerLink, Candidate>();
  private readonly up = new Map<NodeId, PeerLink>();
  private readonly seen = new Set<NodeId>();
  private peers: PeerAddresses = new Map();
  private isLonely = false;
  private lonelyTimer: Timer | undefined;
  private phase: "holding" | "running" | "closed" = "holding";

  constructor(ports: PeerTablePorts, config: PeerTableConfig, listener: PeerTableListener) {
    this.ports = ports;
    this.config = config;
    this.listener = listener;
  }

  /** Begins to dial, and answers the hellos that came before. */
  start(): void {
    assert(this.phase === "holding", "a peer table starts once");
    this.phase = "running";
    for (const candidate of [...this.candidates.values()]) {
      if (candidate.link.peer !== undefined) this.judge(candidate, candidate.link.peer);
    }
    this.dialMissing();
    this.knock();
  }

  /** The members from now on. Others are not dialed any more; their connections end when they end them. */
  setPeers(peers: PeerAddresses): void {
    this.peers = peers;
    if (this.phase === "running") this.dialMissing();
  }

  accept(connection: Connection): void {
    if (this.phase === "closed" || this.strangerCount() >= STRANGERS_MAX) {
      this.ports.metrics.refused.add(1, { reason: "too-many-connections" });
      connection.close("too many connections without a handshake");
      return;
    }
    this.adopt(connection, undefined);
  }

  close(): void {
    this.phase = "closed";
    this.lonelyTimer?.cancel();
    for (const dialer of this.dialers.values()) dialer.close();
    for (const { dialer } of this.doorways.values()) dialer.close();
    for (const link of [...this.candidates.keys()]) link.close("the node stops");
  }

  private strangerCount(): number {
    return this.candidates.size - this.up.size;
  }

  private get isGuest(): boolean {
    return this.isLonely || !this.peers.has(this.config.own.node);
  }

  private ownHello(): Hello {
    return { ...this.config.own, ...(this.isGuest ? { isGuest: true } : {}) };
  }

  // ── dialing ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private isDialed(node: NodeId): boolean {
    const { own } = this.config;
    return node !== own.node && this.peers.has(node) && (this.isGuest || own.node < node);
  }

  /** Brings the dialers in line with the members, and wakes those that had nothing to do and have again. */
  private dialMissing(): void {
    for (const [node, dialer] of this.dialers) {
      if (this.isDialed(node)) continue;
      dialer.close();
      this.dialers.delete(node);
      this.dials.delete(node);
    }
    for (const node of this.peers.keys()) if (this.isDialed(node)) this.dialerOf(node).start();
    for (const url of this.config.join) this.doorwayOf(url).dialer.start();
    this.watchLoneliness();
  }

  private knock(): void {
    for (const [node, [url]] of this.peers) {
      const isMissed = node !== this.config.own.node && !this.isDialed(node) && !this.up.has(node);
      if (isMissed && url !== undefined) this.dial(url, { kind: "node", node, dialer: undefined });
    }
  }

  private watchLoneliness(): void {
    if (this.up.size > 0) {
      this.lonelyTimer?.cancel();
      this.lonelyTimer = undefined;
      this.isLonely = false;
      return;
    }
    if (this.isGuest || this.lonelyTimer !== undefined) return;
    this.lonelyTimer = this.ports.clock.setTimer(LONELY_MS, () => {
      this.isLonely = true;
      this.dialMissing();
    });
  }

  private dialerOf(node: NodeId): PeerDialer {
    const known = this.dialers.get(node);
    if (known !== undefined) return known;
    const dialer = this.createDialer(node, () => this.dialPeer(node));
    this.dialers.set(node, dialer);
    return dialer;
  }

  private doorwayOf(url: string): Doorway {
    const known = this.doorways.get(url);
    if (known !== undefined) return known;
    const dialer = this.createDialer(url, () => this.dialDoorway(url));
    const doorway = { dialer, met: undefined };
    this.doorways.set(url, doorway);
    return doorway;
  }

  private createDialer(label: string, dial: () => "dialed" | "needless"): PeerDialer {
    const { clock, random } = this.ports;
    return new PeerDialer({ clock, random: random.fork(`dial-${label}`), dial });
  }

  /** A node may be known by several addresses, for example while all of them move: each dial tries the next one. */
  private dialPeer(node: NodeId): "dialed" | "needless" {
    const urls = this.peers.get(node) ?? [];
    const dialer = this.dialers.get(node);
    if (dialer === undefined || this.up.has(node)) return "needless";
    const first = this.dials.get(node) ?? 0;
    this.dials.set(node, first + 1);
    const turns = urls.map((_, at) => urls[(first + at) % urls.length] ?? "");
    const isDialed = turns.some((url) => this.dial(url, { kind: "node", node, dialer }) === "dialed");
    return isDialed ? "dialed" : "needless";
  }

  private dialDoorway(url: string): "dialed" | "needless" {
    const { dialer, met } = this.doorwayOf(url);
    const isConnected = met !== undefined && this.up.has(met);
    return isConnected || !this.isGuest ? "needless" : this.dial(url, { kind: "address", dialer });
  }

  private dial(url: string, dialed: Dialed): "dialed" | "needless" {
    const { frameBytesMax } = this.config;
    try {
      this.adopt(this.ports.network.dial(url, { frameBytesMax }), dialed);
      return "dialed";
    } catch (error) {
      // An address is a text that another node wrote down. It is dialed again when the members change.
      const { code, message: reason } = toAetherError(error);
      this.ports.log.error({ event: "net.address-unusable", url, code, reason });
      return "needless";
    }
  }

  private adopt(connection: Connection, dialed: Dialed | undefined): void {
    const { clock } = this.ports;
    const owner = {
      onHello: (link: PeerLink, hello: Hello) => this.onHello({ link, dialed }, hello),
      onUp: (link: PeerLink) => this.onUp({ link, dialed }),
      onMessages: (link: PeerLink, messages: readonly FrameMessage[], frameBytes: number) =>
        this.listener.onMessages(peerOf(link).node, messages, frameBytes),
      onEnd: (link: PeerLink, end: LinkEnd) => this.onEnd({ link, dialed }, end),
    };
    const role = dialed === undefined ? "acceptor" : "dialer";
    const link = new PeerLink({ clock, connection, owner }, () => this.ownHello(), role);
    this.candidates.set(link, { link, dialed });
  }

  // ── judging ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private onHello(candidate: Candidate, hello: Hello): void {
    // Before `start` nobody could take messages: the hello waits for its answer.
    if (this.phase === "running") this.judge(candidate, hello);
  }

  private judge({ link, dialed }: Candidate, hello: Hello): void {
    this.noteDoorway(dialed, hello.node);
    const judgement = judgeHello(hello, {
      own: this.ownHello(),
      isKnown: (node) => this.peers.has(node),
      hasRoomForGuest: this.guestCount() < GUESTS_MAX,
      dialed,
      connected: (node) => this.connectedPeer(node),
    });
    if (judgement.kind === "accepted") {
      link.approve(judgement.version);
      return;
    }
    link.refuse(judgement.refusal);
    if (judgement.refusal.kind === "direction") this.dialers.get(hello.node)?.hurry();
  }

  private noteDoorway(dialed: Dialed | undefined, node: NodeId): void {
    for (const doorway of this.doorways.values()) if (doorway.dialer === dialed?.dialer) doorway.met = node;
  }

  private guestCount(): number {
    return [...this.up.keys()].filter((node) => !this.peers.has(node)).length;
  }

  private connectedPeer(node: NodeId): ConnectedPeer | undefined {
    const link = this.up.get(node);
    if (link === undefined) return undefined;
    const isRegular = isRegularDirection(this.config.own.node, node, link.role);
    return { process: peerOf(link).process, isRegular };
  }

  private onUp({ link }: Candidate): void {
    const { node, process } = peerOf(link);
    const older = this.connectedPeer(node);
    // Two handshakes of one id may have been under way together: judged again at the end.
    if (older !== undefined && older.process !== process) {
      link.refuse({ kind: "same-id", text: `another process that calls itself ${node} was faster` });
      return;
    }
    if (older?.isRegular === true && !isRegularDirection(this.config.own.node, node, link.role)) {
      link.refuse(alreadyConnected(this.config.own.node, node));
      return;
    }
    this.up.get(node)?.close("replaced by a newer connection");
    this.up.set(node, link);
    this.watchLoneliness();
    this.reportUp(node);
    this.listener.onUp(node, link);
  }

  private reportUp(node: NodeId): void {
    const { metrics, log } = this.ports;
    metrics.connected.set(this.up.size);
    if (this.seen.has(node)) metrics.reconnects.add(1, { peer: node });
    this.seen.add(node);
    this.said.forget(`${node} `);
    log.info({ event: "net.peer-up", peer: node });
  }

  private onEnd({ link, dialed }: Candidate, end: LinkEnd): void {
    this.candidates.delete(link);
    const node = link.peer?.node;
    const wasUp = node !== undefined && this.up.get(node) === link;
    if (wasUp) this.up.delete(node);
    this.count(end);
    const isKnock = dialed !== undefined && dialed.dialer === undefined;
    if (!isKnock) this.report(end, wasUp, dialed?.kind === "node" ? dialed.node : node);
    // The dialer goes first: a listener that closes the router must find it waiting, not about to wait.
    dialed?.dialer?.ended(link.upForMs);
    if (wasUp && this.phase === "running") this.dialMissing();
    if (wasUp) this.listener.onDown(node);
  }

  private count(end: LinkEnd): void {
    const { metrics } = this.ports;
    metrics.connected.set(this.up.size);
    if (end.kind === "refused" || end.kind === "refused-by-peer") {
      metrics.refused.add(1, { reason: `${end.kind === "refused" ? "" : "by-peer-"}${end.refusal.kind}` });
    } else if (end.kind === "bad-frame" || end.kind === "silent" || end.kind === "late") {
      metrics.refused.add(1, { reason: end.kind });
    }
  }

  /** One line per matter: retries repeat it every half minute only. */
  private report(end: LinkEnd, wasUp: boolean, peer: NodeId | undefined): void {
    if (end.kind === "closed" || isRoutine(end)) return;
    const reason = describeEnd(end);
    const event = wasUp ? "net.peer-down" : eventOf(end);
    const detail = "refusal" in end ? end.refusal.kind : "";
    const key = `${peer ?? "stranger"} ${end.kind} ${detail}`;
    if (!wasUp && !this.said.shouldSay(key, this.ports.clock.nowMs())) return;
    this.ports.log.warn({ event, reason, ...(peer === undefined ? {} : { peer }) });
  }
}

/** A link that is up, or was judged, has been introduced. */
function peerOf(link: PeerLink): Hello {
  return present(link.peer, "the link has been introduced");
}

/** One connection stays, or somebody knocked, as it should be: nothing to tell anybody. */
function isRoutine(end: LinkEnd): boolean {
  return "refusal" in end && (end.refusal.kind === "already-connected" || end.refusal.kind === "direction");
}

function eventOf(end: LinkEnd): string {
  if (end.kind === "refused") return "net.refused";
  return end.kind === "refused-by-peer" ? "net.refused-by-peer" : "net.connect-failed";
}
