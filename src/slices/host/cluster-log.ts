// Owns: what the instances of a slice said on all nodes: each keeps its own lines, and tells them to a node that asks.
// Does not own: what is kept (core/recent-lines.ts), the messages (core/log-message.ts).
//
// Nothing is asked twice: a node that is not connected, says nothing for a while, or is of a build without this channel
// is named as silent, and the others are heard.
import { unreachable } from "../../base/assert.ts";
import { createDeferred } from "../../base/deferred.ts";
import { AetherError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { Channel, PeerMessaging } from "../../net/peer-messaging.ts";
import { encodeLogMessage, type LogReply, parseLogMessage } from "../core/log-message.ts";
import { type LinesPage, type LinesQuery, mergeLines, type NumberedLine } from "../core/recent-lines.ts";

/** A node that does not answer must not keep back what the others say. */
export const LOG_ANSWER_MS_MAX = 2 * SECOND_MS;
/** Reads of all nodes that wait at once: each may bring 1 MiB of every node. */
export const LOG_READS_MAX = 16;

export interface ClusterLogPorts {
  readonly messaging: PeerMessaging;
  /** All nodes that may have something to say, this one among them or not. */
  nodes(): readonly NodeId[];
  /** What this node keeps; undefined when nothing of that slice. */
  readLines(slice: string, query: LinesQuery): LinesPage | undefined;
}

export type NodeLine = NumberedLine & { readonly node: NodeId };

export interface ClusterLines {
  /** The latest, in the order of their nodes' clocks. */
  readonly lines: readonly NodeLine[];
  /** Nodes that did not answer. */
  readonly silent: readonly NodeId[];
  /** Whether any node keeps lines of that slice. */
  readonly isKnown: boolean;
}

interface HeardLines {
  readonly node: NodeId;
  readonly lines: readonly NumberedLine[] | undefined;
  readonly isSilent: boolean;
}

interface Question {
  readonly node: NodeId;
  /** Undefined: the node is silent. */
  settle(reply: LogReply | undefined): void;
}

export class ClusterLog {
  private readonly clock: Pick<Clock, "setTimer">;
  private readonly ports: ClusterLogPorts;
  private readonly self: NodeId;
  private readonly channel: Channel;
  private readonly questions = new Map<number, Question>();
  private reading = 0;
  private lastId = 0;

  constructor(env: { readonly clock: Pick<Clock, "setTimer"> }, ports: ClusterLogPorts, self: NodeId) {
    this.clock = env.clock;
    this.ports = ports;
    this.self = self;
    this.channel = ports.messaging.channel("logs");
    this.channel.onMessage((from, payload) => this.receive(from, payload));
    ports.messaging.onPeer(({ kind, node }) => {
      if (kind === "down") this.giveUpOn(node);
    });
  }

  /**
   * The latest `linesMax` lines of all nodes.
   * @throws AetherError E_OVERLOADED when too many others wait for such answers
   */
  async read(slice: string, linesMax: number): Promise<ClusterLines> {
    if (this.reading === LOG_READS_MAX) throw tooManyReads();
    this.reading += 1;
    try {
      const nodes = [...new Set([this.self, ...this.ports.nodes()])];
      const replies = await Promise.all(nodes.map((node) => this.linesOf(node, slice, linesMax)));
      const pages = replies.map(({ node, lines = [] }) => lines.map((line) => ({ ...line, node })));
      return {
        lines: mergeLines(pages, linesMax),
        silent: replies.flatMap(({ node, isSilent }) => (isSilent ? [node] : [])),
        isKnown: replies.some(({ lines }) => lines !== undefined),
      };
    } finally {
      this.reading -= 1;
    }
  }

  private async linesOf(node: NodeId, slice: string, linesMax: number): Promise<HeardLines> {
    const reply = node === this.self ? this.ownLines(slice, linesMax) : await this.ask(node, slice, linesMax);
    return { node, lines: reply?.lines, isSilent: reply === undefined };
  }

  private ownLines(slice: string, linesMax: number): Pick<LogReply, "lines"> {
    return { lines: this.ports.readLines(slice, { after: 0, linesMax })?.lines };
  }

  private async ask(node: NodeId, slice: string, linesMax: number): Promise<LogReply | undefined> {
    const id = ++this.lastId;
    const answer = createDeferred<LogReply | undefined>();
    if (!this.channel.send(node, encodeLogMessage({ kind: "ask", id, slice, linesMax }))) return undefined;
    const limit = this.clock.setTimer(LOG_ANSWER_MS_MAX, () => answer.resolve(undefined));
    this.questions.set(id, { node, settle: answer.resolve });
    try {
      return await answer.promise;
    } finally {
      limit.cancel();
      this.questions.delete(id);
    }
  }

  private giveUpOn(node: NodeId): void {
    for (const question of this.questions.values()) if (question.node === node) question.settle(undefined);
  }

  private receive(from: NodeId, payload: Uint8Array): void {
    const message = parseLogMessage(payload);
    if (message === undefined) return this.channel.refuse(from, "this is no message about logs");
    switch (message.kind) {
      case "ask": {
        const { id, slice, linesMax } = message;
        const { lines } = this.ownLines(slice, linesMax);
        // An answer that does not fit is none: who asked gives up by itself.
        return void this.channel.send(from, encodeLogMessage({ kind: "lines", id, lines }));
      }
      case "lines": {
        // One that comes late is for nobody.
        const question = this.questions.get(message.id);
        return question?.node === from ? question.settle(message) : undefined;
      }
      default:
        return unreachable(message);
    }
  }
}

function tooManyReads(): AetherError {
  const message = "too many wait for the lines of all nodes; ask again, or ask one node";
  return new AetherError("E_OVERLOADED", message, { details: { limit: LOG_READS_MAX } });
}
