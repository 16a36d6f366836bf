// Owns: payloads that are stored apart, for people and programs who ask for them, or tell jobs such values, as far as
// the node has room for them. Does not own: what they belong to.
import { decode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
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
    return this.pieces(await this.hold(blob, options));
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

  /** Others have their turn between two pieces. */
  private async *pieces({ bytes, release }: HeldPayload): AsyncGenerator<string> {
    try {
      for (const piece of jsonPieces(bytes)) {
        yield piece;
        await new Promise<void>((resolve) => this.clock.nextTurn(() => resolve()));
      }
    } finally {
      release();
    }
  }
}

function keptTooLong(tried: string): AetherError {
  return new AetherError("E_UNAVAILABLE", `${tried}: its value could not be stored in time; try again`);
}
