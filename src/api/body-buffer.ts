// Owns: collecting a body that comes in pieces, so that the end of a large one does not hold up the thread.
import { MiB } from "../base/units.ts";

/** Below this putting pieces together takes no time worth mentioning. */
const SMALL_BYTES = 1 * MiB;
/** Whoever announces much gets room for it once so much of it is here: announcing alone costs us nothing. */
const PROOF_SHARE = 1 / 16;

export class BodyBuffer {
  private readonly announced: number;
  private readonly pieces: Buffer[] = [];
  private whole: Buffer | undefined;
  private length = 0;

  /** `announced` is the length that the sender has named, 0 when it has not. */
  constructor(announced: number) {
    this.announced = announced;
  }

  get byteLength(): number {
    return this.length;
  }

  add(piece: Buffer): void {
    if (this.whole === undefined) this.pieces.push(piece);
    else piece.copy(this.whole, this.length);
    this.length += piece.byteLength;
    if (this.whole === undefined && this.isWorthRoom()) this.reserve();
  }

  /** Everything that was added. Nothing may be added any more. */
  take(): Buffer {
    if (this.whole === undefined) return Buffer.concat(this.pieces, this.length);
    return this.whole.subarray(0, this.length);
  }

  private isWorthRoom(): boolean {
    const { announced, length } = this;
    return announced > SMALL_BYTES && length <= announced && length >= announced * PROOF_SHARE;
  }

  private reserve(): void {
    const whole = Buffer.allocUnsafeSlow(this.announced);
    let at = 0;
    for (const piece of this.pieces) at += piece.copy(whole, at);
    this.pieces.length = 0;
    this.whole = whole;
  }
}
