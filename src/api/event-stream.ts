// Owns: one response of server-sent events: a bounded buffer, signs of life, the end when the node stops.
// Does not own: what is sent.
import { AetherError, toAetherError } from "../base/errors.ts";
import { jsonText } from "../base/json-text.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import { WATCH_BUFFER_BYTES_MAX } from "./limits.ts";

export interface ServerSentEvent {
  readonly event: string;
  /** What the browser or client sends back as `Last-Event-ID`: set only where a reader may resume. */
  readonly id?: number | string;
  readonly data: string;
}

export interface EventStreamOptions {
  /** The node stops: the reader is told so, and what to do: "watch on another one". */
  readonly closing: AbortSignal;
  readonly elsewhere: string;
  /** Called once, when the reader has left or the stream was ended. */
  onGone(): void;
  /**
   * Called whenever the reader takes something and half of the buffer is free: who goes on with every little room does
   * so for every little room.
   */
  onRoom?(): void;
}

/** A reader that hears nothing for longer may take the connection for lost. */
const SIGN_OF_LIFE_MS = 10 * SECOND_MS;

/** Text for one reader. While it `isFull` the owner should send nothing; what it sends all the same is kept. */
export class EventStream {
  private readonly response: Response;
  private readonly options: EventStreamOptions;
  private controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  private signOfLife: Timer | undefined;

  constructor(options: EventStreamOptions) {
    this.options = options;
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.controller = controller;
        },
        pull: (controller) => {
          if ((controller.desiredSize ?? 0) >= WATCH_BUFFER_BYTES_MAX / 2) options.onRoom?.();
        },
        cancel: () => {
          this.controller = undefined;
          this.release();
        },
      },
      new ByteLengthQueuingStrategy({ highWaterMark: WATCH_BUFFER_BYTES_MAX }),
    );
    this.response = new Response(body, {
      status: 200,
      headers: { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" },
    });
  }

  /** The response, once nothing can keep the stream from being: what was sent before is in it. */
  open(): Response {
    const { closing } = this.options;
    if (closing.aborted) this.onClosing();
    if (this.controller !== undefined) closing.addEventListener("abort", this.onClosing);
    return this.response;
  }

  get isFull(): boolean {
    return this.controller !== undefined && (this.controller.desiredSize ?? 0) <= 0;
  }

  send(events: readonly ServerSentEvent[]): void {
    this.controller?.enqueue(Buffer.from(events.map(eventText).join(""), "utf8"));
  }

  /** Says every now and then that the stream is there. */
  keepAlive(clock: Pick<Clock, "setTimer">): void {
    this.signOfLife = clock.setTimer(SIGN_OF_LIFE_MS, () => {
      if (!this.isFull) this.send([{ event: "alive", data: jsonText({}) }]);
      this.keepAlive(clock);
    });
  }

  /** Ends the stream, and says why. */
  fail(error: Error): void {
    this.end({ event: "error", data: jsonText({ error: toAetherError(error).toBody() }) });
  }

  /** Ends the stream after a last event, which is sent whatever the buffer holds. */
  end(last?: ServerSentEvent): void {
    const { controller } = this;
    if (controller === undefined) return;
    this.controller = undefined;
    if (last !== undefined) controller.enqueue(Buffer.from(eventText(last), "utf8"));
    controller.close();
    this.release();
  }

  private readonly onClosing = (): void => {
    this.fail(new AetherError("E_UNAVAILABLE", `this node is stopping; ${this.options.elsewhere}`));
  };

  private release(): void {
    const { closing, onGone } = this.options;
    closing.removeEventListener("abort", this.onClosing);
    this.signOfLife?.cancel();
    onGone();
  }
}

function eventText(event: ServerSentEvent): string {
  const id = event.id === undefined ? "" : `id: ${event.id}\n`;
  return `event: ${event.event}\n${id}data: ${event.data}\n\n`;
}
