// Owns: the messages of one turn on their way out: one payload per voter, or few when they are large.
import type { NodeId } from "../base/ids.ts";
import { MiB } from "../base/units.ts";
import type { Timer } from "../env/clock.ts";
import type { Channel } from "../net/peer-messaging.ts";
import type { Send } from "./core/effects.ts";
import type { Message } from "./core/message.ts";
import { encodeMessages } from "./core/message-codec.ts";
import type { ConsensusObserver } from "./observer.ts";

/** A payload is closed beyond this, so that a peer's frame limit is never reached. */
const PAYLOAD_BYTES_FULL = 1 * MiB;
/** What nobody waits for leaves after this time, if nothing else did before. */
const SOON_MS = 1;

export class Outgoing {
  private sends: Send[] = [];
  private isUrgent = false;
  private timer: Timer | undefined;
  private readonly self: NodeId;
  private readonly others: () => readonly NodeId[];
  private readonly channel: Channel;
  private readonly observer: ConsensusObserver | undefined;
  private readonly setTimer: (delayMs: number, fire: () => void) => Timer;

  /** `others` are all nodes that take part now, as voters or followers. */
  constructor(
    self: NodeId,
    others: () => readonly NodeId[],
    channel: Channel,
    observer: ConsensusObserver | undefined,
    setTimer: (delayMs: number, fire: () => void) => Timer,
  ) {
    this.setTimer = setTimer;
    this.self = self;
    this.others = others;
    this.channel = channel;
    this.observer = observer;
  }

  add(send: Send): void {
    this.sends.push(send);
    this.isUrgent ||= send.urgency === "now";
  }

  /** Hands over what this turn had to say, unless all of it can wait. */
  flush(): void {
    if (this.isUrgent) this.sendAll();
    else if (this.sends.length > 0) this.timer ??= this.setTimer(SOON_MS, () => this.sendAll());
  }

  close(): void {
    this.timer?.cancel();
  }

  /** Hands everything to the channel. What it refuses is lost, like anything on a network: the protocol repeats it. */
  private sendAll(): void {
    this.timer?.cancel();
    this.timer = undefined;
    this.isUrgent = false;
    const { sends } = this;
    this.sends = [];
    // What goes to all is encoded once.
    const shared = encodeChunks(sends.filter((send) => send.to === "others"));
    for (const node of this.others()) {
      // Batches that are passed on come before the proposal that names them.
      for (const payload of encodeChunks(sends.filter((send) => send.to === node))) this.channel.send(node, payload);
      for (const payload of shared) this.channel.send(node, payload);
    }
    if (this.observer !== undefined) for (const send of sends) this.note(this.observer, send);
  }

  private note(observer: ConsensusObserver, { to, message }: Send): void {
    if (to !== "others") {
      observer.sent(this.self, to, message);
      return;
    }
    for (const other of this.others()) observer.sent(this.self, other, message);
    if (message.kind === "ballot") observer.sent(this.self, this.self, message);
  }
}

function encodeChunks(sends: readonly Send[]): readonly Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let chunk: Message[] = [];
  let bytes = 0;
  for (const { message } of sends) {
    const size = sizeOf(message);
    if (chunk.length > 0 && bytes + size > PAYLOAD_BYTES_FULL) {
      chunks.push(encodeMessages(chunk));
      chunk = [];
      bytes = 0;
    }
    chunk.push(message);
    bytes += size;
  }
  if (chunk.length > 0) chunks.push(encodeMessages(chunk));
  return chunks;
}

/** About how large it is on the wire; what has no content is small. */
function sizeOf(message: Message): number {
  if (message.kind === "batch") return message.commands.byteLength;
  if (message.kind !== "log") return 0;
  const contents = message.entries.flatMap((entry) => entry.contents);
  return contents.reduce((sum, content) => sum + (content?.byteLength ?? 0), 0);
}
