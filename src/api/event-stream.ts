// Owns: one response of server-sent events, with a bounded buffer. Does not own: what is sent.
import { WATCH_BUFFER_BYTES_MAX } from "./limits.ts";

export interface ServerSentEvent {
  readonly event: string;
  /** What the browser or client sends back as `Last-Event-ID`: set only where a reader may resume. */
  readonly id?: number | string;
  readonly data: string;
}

/** Text for one reader. While it `isFull` the owner should send nothing; what it sends all the same is kept. */
export class EventStream {
  readonly response: Response;
  private controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  /**
   * `onGone` is called once, when the reader has left or the stream was ended; `onRoom` whenever the reader takes
   * something and half of the buffer is free: who goes on with every little room does so for every little room.
   */
  constructor(onGone: () => void, onRoom: () => void = () => undefined) {
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.controller = controller;
        },
        pull: (controller) => {
          if ((controller.desiredSize ?? 0) >= WATCH_BUFFER_BYTES_MAX / 2) onRoom();
        },
        cancel: () => {
          this.controller = undefined;
          onGone();
        },
      },
      new ByteLengthQueuingStrategy({ highWaterMark: WATCH_BUFFER_BYTES_MAX }),
    );
    this.response = new Response(body, {
      status: 200,
      headers: { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" },
    });
    this.onGone = onGone;
  }

  private readonly onGone: () => void;

  get isFull(): boolean {
    return this.controller !== undefined && (this.controller.desiredSize ?? 0) <= 0;
  }

  send(events: readonly ServerSentEvent[]): void {
    this.controller?.enqueue(Buffer.from(events.map(eventText).join(""), "utf8"));
  }

  /** Ends the stream after a last event, which is sent whatever the buffer holds. */
  end(last?: ServerSentEvent): void {
    const { controller } = this;
    if (controller === undefined) return;
    this.controller = undefined;
    if (last !== undefined) controller.enqueue(Buffer.from(eventText(last), "utf8"));
    controller.close();
    this.onGone();
  }
}

function eventText(event: ServerSentEvent): string {
  const id = event.id === undefined ? "" : `id: ${event.id}\n`;
  return `event: ${event.event}\n${id}data: ${event.data}\n\n`;
}
