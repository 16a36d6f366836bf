// Owns: what waits to leave for one peer: a bounded queue per channel, lower channels first, and how much may still
// be handed to a socket that is already behind.
import { present } from "../../base/assert.ts";
import { MiB } from "../../base/units.ts";
import { FRAME_HEADER_BYTES, FRAME_MESSAGES_MAX, type FrameMessage, MESSAGE_HEADER_BYTES } from "./frame.ts";

export interface LaneSpec {
  readonly channel: number;
  /** Bytes that may wait; a message above is refused. */
  readonly queueBytesMax: number;
  /** While the socket holds more than this, the channel's messages stay here. */
  readonly heldAboveBytes: number;
}

/** The messages of one turn are split into frames of about this size, so that urgent ones never wait behind more. */
export const FRAME_BYTES_TARGET = 2 * MiB;

/** One first-in-first-out queue, bounded by bytes. */
class Lane {
  readonly spec: LaneSpec;
  queuedBytes = 0;
  private payloads: Uint8Array[] = [];
  private head = 0;

  constructor(spec: LaneSpec) {
    this.spec = spec;
  }

  get next(): Uint8Array | undefined {
    return this.payloads[this.head];
  }

  push(payload: Uint8Array): boolean {
    const bytes = MESSAGE_HEADER_BYTES + payload.byteLength;
    if (this.queuedBytes + bytes > this.spec.queueBytesMax) return false;
    this.payloads.push(payload);
    this.queuedBytes += bytes;
    return true;
  }

  shift(): void {
    this.queuedBytes -= MESSAGE_HEADER_BYTES + present(this.next, "shift follows next").byteLength;
    this.head += 1;
    if (this.head === this.payloads.length) this.dropTaken();
    // Amortized: the taken half is dropped only once it is the larger one.
    else if (this.head > 1_024 && this.head * 2 > this.payloads.length) this.dropTaken();
  }

  private dropTaken(): void {
    this.payloads = this.payloads.slice(this.head);
    this.head = 0;
  }
}

export class Outbox {
  private readonly lanes: readonly Lane[];
  private readonly laneOf: ReadonlyMap<number, Lane>;

  constructor(specs: readonly LaneSpec[]) {
    this.lanes = [...specs].sort((a, b) => a.channel - b.channel).map((spec) => new Lane(spec));
    this.laneOf = new Map(this.lanes.map((lane) => [lane.spec.channel, lane]));
  }

  get isEmpty(): boolean {
    return this.lanes.every((lane) => lane.queuedBytes === 0);
  }

  /** False when the channel's queue is full: nothing was queued. */
  push(channel: number, payload: Uint8Array): boolean {
    return present(this.laneOf.get(channel), "every channel has a lane").push(payload);
  }

  /** The messages of the next frame; none when all is sent or must wait for the socket, which holds `bufferedBytes`. */
  take(bufferedBytes: number): readonly FrameMessage[] {
    const messages: FrameMessage[] = [];
    let bytes = FRAME_HEADER_BYTES;
    for (const lane of this.lanes) {
      if (bufferedBytes > lane.spec.heldAboveBytes) continue;
      for (let payload = lane.next; payload !== undefined; payload = lane.next) {
        const grown = bytes + MESSAGE_HEADER_BYTES + payload.byteLength;
        // A message above the target leaves alone: it is first in its frame, or waits for the next one.
        if (messages.length > 0 && (grown > FRAME_BYTES_TARGET || messages.length === FRAME_MESSAGES_MAX)) {
          return messages;
        }
        messages.push({ channel: lane.spec.channel, payload });
        lane.shift();
        bytes = grown;
      }
    }
    return messages;
  }
}
