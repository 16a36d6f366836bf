// Owns: payloads that are stored apart, for people and programs who ask for them, or tell jobs such values, as far as
// the node has room for them. Does not own: what they belong to.
import { decode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { MiB, SECOND_MS } from "../../base/units.ts";
import type { Timer } from "../../env/clock.ts";
import type { CallOptions, Env } from "../../env/env.ts";
import type { StoreUsage } from "../../kvstore/kv.ts";
import { chunkOf, PAYLOAD_BYTES_MAX, type Apart, type BlobRef } from "../core/payloads/blob.ts";
import { jsonPieces } from "../core/payloads/json-pieces.ts";
import type { ToldValue } from "../core/payloads/told-value.ts";
import { withPlainBytes } from "../core/log/upcast.ts";
import { PAYLOAD_KEEP_MS_MAX } from "../limits.ts";
import type { PayloadRoom } from "../payloads/payload-room.ts";
import type { PayloadStore } from "../payloads/payload-store.ts";
import type { Jobs } from "../ports.ts";

export interface JobPayloadsPorts {
  readonly store: Pick<PayloadStore, "read" | "put">;
  readonly room: Pick<PayloadRoom, "take">;
  readonly usage: () => StoreUsage;
}

/** Of payloads that are shown or told just now, encoded: room of their own, because that must hold up no job. */
export const PAYLOADS_SHOWN_BYTES_MAX = 64 * MiB;
/** Between two pieces that a reader asks for; then its payload makes room for others. */
export const PAYLOAD_READ_MS_MAX = 30 * SECOND_MS;

interface HeldPayload {
  readonly bytes: Uint8Array;
  readonly release: () => void;
}

export class JobPayloads implements Pick<Jobs, "payload" | "payloadText"> {
  private readonly clock: Env["clock"];
  private readonly ports: JobPayloadsPorts;

  constructor({ clock }: Pick<Env, "clock">, ports: JobPayloadsPorts) {
    this.clock = clock;
    this.ports = ports;
  }

  async payload(blob: BlobRef, options: CallOptions = {}): Promise<unknown> {
    const { bytes, release } = await this.hold(blob, options);
    try {
      return withPlainBytes([decode(bytes, PAYLOAD_BYTES_MAX)])[0];
    } finally {
      release();
    }
  }

  async payloadText(blob: BlobRef, options: CallOptions = {}): Promise<AsyncIterable<string>> {
    const reading = new PayloadReading(this.clock, await this.hold(blob, options));
    return { [Symbol.asyncIterator]: () => reading };
  }

  /**
   * Stores what is to be stored apart of a value, which has to be named within a day. `tried` is what is not done when
   * it cannot be.
   * @throws AetherError E_QUOTA, E_UNAVAILABLE
   */
  async keep(tried: string, { digest, large }: ToldValue, { signal }: CallOptions = {}): Promise<Apart> {
    if (large === undefined) return {};
    const blob = { digest, bytes: large.byteLength };
    const { liveBytes, quotaBytes } = this.ports.usage();
    if (liveBytes + blob.bytes > quotaBytes) {
      const message = `${tried}: the store has no room for ${blob.bytes} bytes; raise its quota, or delete data`;
      throw new AetherError("E_QUOTA", message, { details: { limit: quotaBytes, actual: liveBytes + blob.bytes } });
    }
    const late = new AbortController();
    const timer = this.clock.setTimer(PAYLOAD_KEEP_MS_MAX, () => late.abort(keptTooLong(tried)));
    const ends = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
    try {
      const release = await this.ports.room.take(blob.bytes, ends);
      try {
        await this.ports.store.put(blob, async (part) => chunkOf(large, part), ends);
      } finally {
        release();
      }
    } finally {
      timer.cancel();
    }
    return { blob };
  }

  private async hold(blob: BlobRef, options: CallOptions): Promise<HeldPayload> {
    const release = await this.ports.room.take(blob.bytes, options.signal);
    try {
      return { bytes: await this.ports.store.read(blob, options), release };
    } catch (error) {
      release();
      throw error;
    }
  }
}

const OVER: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** Not a generator, which would keep its payload when it is given up before its first piece. */
class PayloadReading implements AsyncIterator<string> {
  private readonly clock: Env["clock"];
  private readonly release: () => void;
  private pieces: Iterator<string> | undefined;
  private timer: Timer;
  private isLate = false;

  constructor(clock: Env["clock"], { bytes, release }: HeldPayload) {
    this.clock = clock;
    this.release = release;
    this.pieces = jsonPieces(bytes);
    this.timer = this.limit();
  }

  async next(): Promise<IteratorResult<string>> {
    this.timer.cancel();
    // Others have their turn between two pieces.
    await new Promise<void>((resolve) => this.clock.nextTurn(() => resolve()));
    if (this.isLate) throw notRead();
    if (this.pieces === undefined) return OVER;
    try {
      const piece = this.pieces.next();
      if (piece.done === true) this.end();
      else this.timer = this.limit();
      return piece;
    } catch (error) {
      this.end();
      throw error;
    }
  }

  async return(): Promise<IteratorResult<string>> {
    this.end();
    return OVER;
  }

  private limit(): Timer {
    return this.clock.setTimer(PAYLOAD_READ_MS_MAX, () => {
      this.isLate = true;
      this.end();
    });
  }

  private end(): void {
    this.timer.cancel();
    this.pieces = undefined;
    this.release();
  }
}

function notRead(): AetherError {
  return new AetherError("E_TIMEOUT", `the payload was not read on for ${PAYLOAD_READ_MS_MAX / SECOND_MS} seconds: ` +
    "read it again, and faster");
}

function keptTooLong(tried: string): AetherError {
  return new AetherError("E_UNAVAILABLE", `${tried}: its value could not be stored in time; try again`);
}
