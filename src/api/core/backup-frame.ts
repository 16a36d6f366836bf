// Owns: how chunks of a backup follow each other in a response and in a file: each with its length before it.
import { AetherError } from "../../base/errors.ts";
import { MiB } from "../../base/units.ts";

const LENGTH_BYTES = 4;
/** The largest chunk, with headroom. */
const FRAME_BYTES_MAX = 2 * MiB;

export function encodeBackupFrame(payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + payload.byteLength);
  frame.writeUInt32BE(payload.byteLength);
  frame.set(payload, LENGTH_BYTES);
  return frame;
}

/** Cuts a stream of bytes into its frames. */
export class BackupFrameReader {
  private pending: Buffer = Buffer.alloc(0);

  /** Bytes of a frame that is not complete. */
  get pendingBytes(): number {
    return this.pending.length;
  }

  /** The frames that are complete with these bytes. @throws AetherError E_DATA_CORRUPT */
  push(bytes: Uint8Array): readonly Uint8Array[] {
    this.pending = Buffer.concat([this.pending, bytes]);
    const frames: Uint8Array[] = [];
    for (;;) {
      if (this.pending.length < LENGTH_BYTES) return frames;
      const length = this.pending.readUInt32BE();
      if (length > FRAME_BYTES_MAX) throw tooLarge(length);
      const end = LENGTH_BYTES + length;
      if (this.pending.length < end) return frames;
      frames.push(this.pending.subarray(LENGTH_BYTES, end));
      this.pending = this.pending.subarray(end);
    }
  }
}

function tooLarge(length: number): AetherError {
  return new AetherError("E_DATA_CORRUPT", `a chunk of the backup says that it has ${length} bytes: use another one`);
}
