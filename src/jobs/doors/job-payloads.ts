// Owns: payloads that are stored apart, for people and programs who ask for them, as far as the node has room for them.
// Does not own: what they belong to.
import { decode } from "../../base/codec.ts";
import type { CallOptions, Env } from "../../env/env.ts";
import { PAYLOAD_BYTES_MAX, type BlobRef } from "../core/payloads/blob.ts";
import { jsonPieces } from "../core/payloads/json-pieces.ts";
import { withPlainBytes } from "../core/log/upcast.ts";
import type { PayloadRoom } from "../payloads/payload-room.ts";
import type { PayloadStore } from "../payloads/payload-store.ts";
import type { Jobs } from "../ports.ts";

export interface JobPayloadsPorts {
  readonly store: Pick<PayloadStore, "read">;
  readonly room: Pick<PayloadRoom, "take">;
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
