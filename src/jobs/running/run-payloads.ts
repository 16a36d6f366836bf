// Owns: the large payloads of ONE run on its node: room for those that its worker makes, storing them before what names
// them is appended, and handing out those that its log names. Does not own: the bytes in the worker
// (worker/large-payloads.ts), the store's side (payloads/payload-store.ts).
import { AetherError, toAetherError } from "../../base/errors.ts";
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import type { Digest } from "../../base/ids.ts";
import type { StoreUsage } from "../../kvstore/kv.ts";
import { chunkBytesOf, type BlobRef } from "../core/payloads/blob.ts";
import { hasRoomForWork } from "../core/room.ts";
import type { JobError } from "../core/rows.ts";
import type { FromAgent, RunNumber, ToAgent } from "../core/worker/messages.ts";
import type { PayloadRoom } from "../payloads/payload-room.ts";
import type { PayloadStore } from "../payloads/payload-store.ts";

export type FromPayloads = Extract<FromAgent, { readonly kind: "want-room" | "free-room" | "want-part" | "part" }>;

export function isOfPayloads(message: FromAgent): message is FromPayloads {
  const { kind } = message;
  return kind === "want-room" || kind === "free-room" || kind === "want-part" || kind === "part";
}

/** What all runs of a node share. */
export interface NodePayloads {
  readonly store: Pick<PayloadStore, "put" | "part">;
  readonly room: Pick<PayloadRoom, "take">;
  readonly usage: () => StoreUsage;
}

export interface RunPayloadsPorts extends NodePayloads {
  readonly run: () => RunNumber;
  readonly say: (message: Exclude<ToAgent, { readonly kind: "start" }>) => void;
  /** Something is stored that waited for it. */
  readonly onStored: () => void;
  /** The worker does not give what it has named. */
  readonly onFault: (reason: string) => void;
  readonly signal: AbortSignal;
}

export class RunPayloads {
  private readonly ports: RunPayloadsPorts;
  private readonly rooms = new Map<number, () => void>();
  /** Rooms that were freed before they were given. */
  private readonly freed = new Set<number>();
  private readonly writing = new Set<Digest>();
  private readonly stored = new Set<Digest>();
  private readonly parts = new Map<string, Deferred<Uint8Array>>();

  constructor(ports: RunPayloadsPorts) {
    this.ports = ports;
  }

  /** Frees all room. */
  close(): void {
    for (const free of this.rooms.values()) free();
    this.rooms.clear();
  }

  hear(message: FromPayloads): void {
    switch (message.kind) {
      case "want-room":
        return void this.giveRoom(message.room, message.bytes);
      case "free-room":
        return this.freeRoom(message.room);
      case "want-part":
        return void this.givePart(message.blob, message.part);
      case "part":
        return this.parts.get(nameOf(message.digest, message.part))?.resolve(message.data);
    }
  }

  isStored({ digest }: BlobRef): boolean {
    return this.stored.has(digest);
  }

  /** The worker has named it. */
  begin(blob: BlobRef): void {
    if (this.writing.has(blob.digest)) return;
    this.writing.add(blob.digest);
    void this.write(blob);
  }

  /** The append that named them was not taken: perhaps one of them is not there any more. */
  reconsider(blobs: readonly BlobRef[]): void {
    for (const blob of blobs) {
      if (!this.stored.delete(blob.digest)) continue;
      this.begin(blob);
    }
  }

  private async write(blob: BlobRef): Promise<void> {
    const { store, signal, onStored, onFault } = this.ports;
    try {
      await store.put(blob, (part) => this.askPart(blob, part), signal);
      this.stored.add(blob.digest);
      onStored();
    } catch (error) {
      if (!signal.aborted) onFault(toAetherError(error).message);
    } finally {
      this.writing.delete(blob.digest);
    }
  }

  private async askPart(blob: BlobRef, part: number): Promise<Uint8Array> {
    const name = nameOf(blob.digest, part);
    const asked = createDeferred<Uint8Array>();
    this.parts.set(name, asked);
    const { signal } = this.ports;
    const abort = (): void => asked.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.ports.say({ kind: "want-part", run: this.ports.run(), digest: blob.digest, part });
    try {
      const data = await asked.promise;
      if (data.byteLength === chunkBytesOf(blob, part)) return data;
      throw new AetherError("E_INVALID", `part ${part} of the payload ${blob.digest} is of another size`);
    } finally {
      signal.removeEventListener("abort", abort);
      this.parts.delete(name);
    }
  }

  private async giveRoom(room: number, bytes: number): Promise<void> {
    const refusal = this.refusalOf(bytes);
    if (refusal !== undefined) {
      return this.ports.say({ kind: "room", run: this.ports.run(), room, refusal });
    }
    try {
      const free = await this.ports.room.take(bytes, this.ports.signal);
      if (this.ports.signal.aborted || this.freed.delete(room)) return free();
      this.rooms.set(room, free);
      this.ports.say({ kind: "room", run: this.ports.run(), room });
    } catch {
      // ignored: nobody owns the job here any more.
    }
  }

  /**
   * Half of what the store has in reserve stays for rows: what became of a call is always noted, without its answer
   * when that has no room.
   */
  private refusalOf(bytes: number): JobError | undefined {
    if (hasRoomForWork(this.ports.usage(), bytes)) return undefined;
    const message = `the store has no room for a payload of ${bytes} bytes: raise its quota, or delete data`;
    return { name: "AetherError", code: "E_QUOTA", message };
  }

  private freeRoom(room: number): void {
    const free = this.rooms.get(room);
    if (free === undefined) this.freed.add(room);
    else free();
    this.rooms.delete(room);
  }

  private async givePart(blob: BlobRef, part: number): Promise<void> {
    const { store, say, run, signal } = this.ports;
    try {
      const data = await store.part(blob, part, { signal });
      // A view would take all that it is a view of with it to the other thread.
      say({ kind: "part", run: run(), digest: blob.digest, part, data: new Uint8Array(data) });
    } catch (thrown) {
      if (signal.aborted) return;
      const { code, message } = toAetherError(thrown);
      say({ kind: "payload-lost", run: run(), digest: blob.digest, error: { name: "AetherError", code, message } });
    }
  }
}

function nameOf(digest: Digest, part: number): string {
  return `${digest}/${part}`;
}
