// Owns: which connection is THE connection to a peer: dialing, judging hellos, replacing, and saying why not.
// Does not own: messages and their queues.
//
// Of two nodes the one with the lower id dials, the other accepts: there is never a second connection to choose from,
// except when a peer lost its end earlier than we did. Then the new one replaces the old one, once it is up.
import { assert, present } from "../base/assert.ts";
import type { NodeId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import { MINUTE_MS } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import type { Connection, NetworkPort } from "../env/network.ts";
import type { Log } from "../env/telemetry.ts";
import type { FrameMessage } from "./core/frame.ts";
import { type Hello, judgeHello } from "./core/handshake.ts";
import { RepeatFilter } from "./core/repeat-filter.ts";
import type { NetMetrics } from "./metrics.ts";
import { PeerDialer } from "./peer-dialer.ts";
import { describeEnd, type LinkEnd, PeerLink } from "./peer-link.ts";

/** Connections that have not yet introduced themselves; the next one is closed. A cluster has far fewer nodes. */
const STRANGERS_MAX = 64;
const SAY_AGAIN_MS = MINUTE_MS / 2;
const SAID_KEYS_MAX = 256;

export interface PeerTableConfig {
  readonly own: Hello;
  readonly peers: ReadonlyMap<NodeId, string>;
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
  readonly dialed: NodeId | undefined;
}

export class PeerTable {
  private readonly ports: PeerTablePorts;
  private readonly config: PeerTableConfig;
  private readonly listener: PeerTableListener;
  private readonly said = new RepeatFilter(SAY_AGAIN_MS, SAID_KEYS_MAX);
  private readonly dialers = new Map<NodeId, PeerDialer>();
  /** Every link that has not ended. */
  private readonly candidates = new Map<PeerLink, Candidate>();
  private readonly up = new Map<NodeId, PeerLink>();
  private readonly seen = new Set<NodeId>();
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
    for (const node of this.config.peers.keys()) {
      if (this.config.own.node < node) this.startDialing(node);
    }
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
    for (const dialer of this.dialers.values()) dialer.close();
    for (const link of [...this.candidates.keys()]) link.close("the node stops");
  }

  private strangerCount(): number {
    return this.candidates.size - this.up.size;
  }

  private startDialing(node: NodeId): void {
    const { clock, random } = this.ports;
    const dialer = new PeerDialer({ clock, random: random.fork(`dial-${node}`), dial: () => this.dial(node) });
    this.dialers.set(node, dialer);
    dialer.start();
  }

  private dial(node: NodeId): void {
    const { frameBytesMax, peers } = this.config;
    const url = present(peers.get(node), "only peers are dialed");
    this.adopt(this.ports.network.dial(url, { frameBytesMax }), node);
  }

  private adopt(connection: Connection, dialed: NodeId | undefined): void {
    const { clock } = this.ports;
    const owner = {
      onHello: (link: PeerLink, hello: Hello) => this.onHello({ link, dialed }, hello),
      onUp: (link: PeerLink) => this.onUp({ link, dialed }),
      onMessages: (link: PeerLink, messages: readonly FrameMessage[], frameBytes: number) =>
        this.listener.onMessages(peerOf(link).node, messages, frameBytes),
      onEnd: (link: PeerLink, end: LinkEnd) => this.onEnd({ link, dialed }, end),
    };
    const role = dialed === undefined ? "acceptor" : "dialer";
    const link = new PeerLink({ clock, connection, owner }, this.config.own, role);
    this.candidates.set(link, { link, dialed });
  }

  private onHello(candidate: Candidate, hello: Hello): void {
    // Before `start` nobody could take messages: the hello waits for its answer.
    if (this.phase === "running") this.judge(candidate, hello);
  }

  private judge({ link, dialed }: Candidate, hello: Hello): void {
    const judgement = judgeHello(hello, {
      own: this.config.own,
      isKnown: (node) => this.config.peers.has(node),
      dialed,
      connectedProcess: (node) => this.up.get(node)?.peer?.process,
    });
    if (judgement.kind === "accepted") link.approve(judgement.version);
    else link.refuse(judgement.refusal);
  }

  private onUp({ link }: Candidate): void {
    const { node, process } = peerOf(link);
    const older = this.up.get(node);
    // Two handshakes of one id may have been under way together: judged again at the end.
    if (older !== undefined && peerOf(older).process !== process) {
      link.refuse({ kind: "same-id", text: `another process that calls itself ${node} was faster` });
      return;
    }
    older?.close("replaced by a newer connection");
    this.up.set(node, link);
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
    this.report(end, wasUp, dialed ?? node);
    // The dialer goes first: a listener that closes the router must find it waiting, not about to wait.
    if (dialed !== undefined) this.dialers.get(dialed)?.ended(link.upForMs);
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
    if (end.kind === "closed") return;
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

function eventOf(end: LinkEnd): string {
  if (end.kind === "refused") return "net.refused";
  return end.kind === "refused-by-peer" ? "net.refused-by-peer" : "net.connect-failed";
}
