// Owns: payloads of ONE run that are too large for a message: those that its code made, until the log has them, and the
// one that its code is to be given next. Does not own: when code is given what (agent-run.ts).
//
// Bytes leave and come in parts, each when the other side asks for it: so neither side is ever busy with one payload
// for long, or has more of it on its way than a part. What a worker may hold at all its node says.
import { decode, encodeLarge } from "../../base/codec.ts";
import { sha256 } from "../../base/digest.ts";
import type { Digest } from "../../base/ids.ts";
import { withPlainBytes } from "../core/log/upcast.ts";
import {
  chunkBytesOf, chunkCountOf, chunkOf, PAYLOAD_BYTES_MAX, PAYLOAD_CHUNK_BYTES, type BlobRef,
} from "../core/payloads/blob.ts";
import type { JobError } from "../core/rows.ts";
import type { CodeEnd, FromAgent, RunNumber, ToAgent } from "../core/worker/messages.ts";
import { carriedBy } from "../core/worker/op-payload.ts";
import { isLarge, type Ended } from "./given.ts";

export type ToPayloads = Extract<ToAgent, { readonly kind: "room" | "want-part" | "part" | "payload-lost" }>;

export function isToPayloads(message: ToAgent): message is ToPayloads {
  const { kind } = message;
  return kind === "room" || kind === "want-part" || kind === "part" || kind === "payload-lost";
}

export interface LargePayloadsPorts {
  readonly run: RunNumber;
  readonly post: (message: FromAgent) => void;
  /** Something can go on that waited. */
  readonly onChange: () => void;
  /** What the code is to be given cannot be had: it cannot go on. */
  readonly onLost: (error: JobError) => void;
}

/** `waits`: the node has not answered yet. */
export type Room =
  | { readonly kind: "waits" }
  | { readonly kind: "given" }
  | { readonly kind: "refused"; readonly error: JobError };

interface Held {
  readonly bytes: Uint8Array;
  readonly room: number;
  /** The operation that names it. */
  readonly n: number;
}

interface Fetch {
  readonly blob: BlobRef;
  readonly room: number;
  bytes: Uint8Array;
  part: number;
}

const NO_PAYLOAD = { bytes: new Uint8Array(0) };
const WAITS: Room = { kind: "waits" };

export class LargePayloads {
  private readonly ports: LargePayloadsPorts;
  private readonly rooms = new Map<number, Room>();
  /** By who wants it, until it is held or given up. */
  private readonly asked = new Map<object, number>();
  private readonly held = new Map<Digest, Held>();
  private lastRoom = 0;
  private waiting = 0;
  private fetch: Fetch | undefined;
  private fetched: { readonly digest: Digest; readonly value: unknown } | undefined;

  constructor(ports: LargePayloadsPorts) {
    this.ports = ports;
  }

  /** Whether the node is to say something first. */
  get isWaiting(): boolean {
    return this.waiting > 0 || this.fetch !== undefined;
  }

  /** Whether there is room for what `owner` has, of about so many bytes; the node is asked the first time. */
  roomFor(owner: object, bytes: number): Room {
    const asked = this.asked.get(owner);
    if (asked !== undefined) return this.rooms.get(asked) ?? WAITS;
    const room = ++this.lastRoom;
    this.asked.set(owner, room);
    this.ask(room, bytes);
    return WAITS;
  }

  /** Keeps what `owner` has room for, until operation `n`, which names it, is committed. */
  hold(owner: object, value: unknown, n: number): BlobRef {
    const bytes = encodeLarge(value);
    const blob = { digest: sha256(bytes), bytes: bytes.byteLength };
    const room = this.asked.get(owner) ?? 0;
    this.asked.delete(owner);
    const before = this.held.get(blob.digest);
    if (before !== undefined) this.free(before.room);
    this.held.set(blob.digest, { bytes, room, n });
    return blob;
  }

  /** The end of code that only replays: its output goes nowhere, and is told by its digest. */
  named({ op, bytes = 0 }: Ended): CodeEnd {
    if (!isLarge(bytes)) return op;
    const carried = carriedBy(op);
    if (carried === undefined) return op;
    const encoded = encodeLarge(carried.value);
    return carried.apart({ digest: sha256(encoded), bytes: encoded.byteLength });
  }

  /** What `owner` has is not going to leave. */
  forget(owner: object): void {
    const room = this.asked.get(owner);
    this.asked.delete(owner);
    if (room === undefined) return;
    if (!this.rooms.has(room)) this.waiting -= 1;
    this.free(room);
  }

  /** All operations up to `n` are in the store. */
  commit(n: number): void {
    for (const [digest, held] of this.held) {
      if (held.n > n) continue;
      this.held.delete(digest);
      this.free(held.room);
    }
  }

  /** The payload, once it is here; asked again it is fetched again. Undefined while it is on its way. */
  take(blob: BlobRef): { readonly value: unknown } | undefined {
    const { fetched } = this;
    if (fetched?.digest === blob.digest) {
      this.fetched = undefined;
      return { value: fetched.value };
    }
    if (this.fetch !== undefined) return undefined;
    this.fetch = { blob, room: ++this.lastRoom, bytes: new Uint8Array(0), part: 0 };
    this.ask(this.fetch.room, blob.bytes);
    return undefined;
  }

  receive(message: ToPayloads): void {
    switch (message.kind) {
      case "room":
        return this.takeRoom(message.room, message.refusal);
      case "want-part":
        return this.give(message.digest, message.part);
      case "part":
        return this.takePart(message.digest, message.part, message.data);
      case "payload-lost":
        if (this.fetch?.blob.digest === message.digest) this.lose(message.error);
    }
  }

  private ask(room: number, bytes: number): void {
    this.waiting += 1;
    this.ports.post({ kind: "want-room", run: this.ports.run, room, bytes: Math.min(bytes, PAYLOAD_BYTES_MAX) });
  }

  private free(room: number): void {
    this.rooms.delete(room);
    this.ports.post({ kind: "free-room", run: this.ports.run, room });
  }

  private takeRoom(room: number, error: JobError | undefined): void {
    const { fetch } = this;
    const isWanted = fetch?.room === room || [...this.asked.values()].includes(room);
    // It was given up, and freed, before the node answered.
    if (!isWanted) return;
    this.waiting -= 1;
    this.rooms.set(room, error === undefined ? { kind: "given" } : { kind: "refused", error });
    if (fetch?.room !== room) return this.ports.onChange();
    if (error !== undefined) return this.lose(error);
    fetch.bytes = new Uint8Array(fetch.blob.bytes);
    this.askPart(fetch);
  }

  private give(digest: Digest, part: number): void {
    // Of one that is not held any more there is nothing: the next owner's worker makes it anew.
    const { bytes } = this.held.get(digest) ?? NO_PAYLOAD;
    // A view would take all of the payload with it to the other thread.
    const data = new Uint8Array(chunkOf(bytes, part));
    this.ports.post({ kind: "part", run: this.ports.run, digest, part, data });
  }

  private askPart({ blob, part }: Fetch): void {
    this.ports.post({ kind: "want-part", run: this.ports.run, blob, part });
  }

  private takePart(digest: Digest, part: number, data: Uint8Array): void {
    const { fetch } = this;
    if (fetch?.blob.digest !== digest || part !== fetch.part) return;
    if (data.byteLength !== chunkBytesOf(fetch.blob, part)) return this.lose(damaged(fetch.blob, `its part ${part}`));
    fetch.bytes.set(data, part * PAYLOAD_CHUNK_BYTES);
    fetch.part += 1;
    if (fetch.part < chunkCountOf(fetch.blob)) return this.askPart(fetch);
    this.finish(fetch);
  }

  private finish({ blob, room, bytes }: Fetch): void {
    if (sha256(bytes) !== blob.digest) return this.lose(damaged(blob, "its digest"));
    // What code gets has to be what it got when it was new.
    const [value] = withPlainBytes([decode(bytes, PAYLOAD_BYTES_MAX)]);
    this.fetched = { digest: blob.digest, value };
    this.fetch = undefined;
    this.free(room);
    this.ports.onChange();
  }

  private lose(error: JobError): void {
    const { fetch } = this;
    this.fetch = undefined;
    if (fetch !== undefined) this.free(fetch.room);
    this.ports.onLost(error);
  }
}

function damaged({ digest }: BlobRef, what: string): JobError {
  const message = `the payload ${digest} that the log names is damaged: ${what} is not what it was`;
  return { name: "AetherError", code: "E_DATA_CORRUPT", message };
}
