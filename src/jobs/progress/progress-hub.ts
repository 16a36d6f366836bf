// Owns: the way of what jobs emit from the node that runs one to the nodes where somebody reads it.
// Does not own: who runs a job (job-follow.ts says it), how readers see it.
//
// Nothing of it is stored, and nothing waits for it: what does not fit, or meets a lost connection, is left out. A node
// that reads says so again and again; who says nothing any more is forgotten.
import { encode } from "../../base/codec.ts";
import { toAetherError } from "../../base/errors.ts";
import type { JobId, NodeId } from "../../base/ids.ts";
import { KiB, SECOND_MS } from "../../base/units.ts";
import { unreachable } from "../../base/assert.ts";
import type { Timer } from "../../env/clock.ts";
import type { Env } from "../../env/env.ts";
import type { Channel, PeerMessaging } from "../../net/peer-messaging.ts";
import { encodeProgress, parseProgress } from "../core/progress-message.ts";

/** How often a node repeats what it reads, and after how long without that it is forgotten. */
const WANT_MS = 4 * SECOND_MS;
export const WANTED_MS = 3 * WANT_MS;
/** Pairs of job and node that a node sends progress to; who comes later gets none of it. */
export const WANTED_MAX = 10_000;
/** Progress that leaves within one turn of the event loop; what is beyond it is left out. */
export const TURN_BYTES_MAX = 128 * KiB;
/** Jobs that one message names; a job's id has 128 characters at most. */
const JOBS_PER_MESSAGE = 1_000;

export interface ProgressReading {
  /** Who runs the job now; nobody while it waits. */
  setOwner(node: NodeId | undefined): void;
  close(): void;
}

interface Reader {
  readonly job: JobId;
  readonly listener: (item: unknown) => void;
  owner: NodeId | undefined;
}

export class ProgressHub {
  private readonly env: Pick<Env, "clock" | "telemetry">;
  private readonly self: NodeId;
  private readonly channel: Channel;
  private readonly readers = new Map<JobId, Set<Reader>>();
  /** Until when which nodes read jobs of this one. */
  private readonly wanted = new Map<JobId, Map<NodeId, number>>();
  private wantedCount = 0;
  /** What leaves at the end of this turn, by node and job. */
  private readonly outbox = new Map<NodeId, Map<JobId, unknown[]>>();
  private outboxBytes = 0;
  private renewal: Timer | undefined;

  constructor(
    env: Pick<Env, "clock" | "telemetry">, { messaging }: { readonly messaging: PeerMessaging }, self: NodeId,
  ) {
    this.env = env;
    this.self = self;
    this.channel = messaging.channel("jobs");
    this.channel.onMessage((from, payload) => this.receive(from, payload));
  }

  /** The code of a job that this node runs has emitted something. */
  publish(job: JobId, item: unknown): void {
    this.deliver(job, [item]);
    const nodes = this.wanted.get(job);
    if (nodes === undefined) return;
    const nowMs = this.env.clock.nowMs();
    const bytes = encode(item).byteLength;
    for (const [node, untilMs] of nodes) {
      if (untilMs <= nowMs) this.forget(job, node);
      else if (this.outboxBytes + bytes <= TURN_BYTES_MAX) this.queue(node, job, { item, bytes });
    }
  }

  /** Whoever reads the progress of a job here; the listener must not throw. */
  read(job: JobId, listener: (item: unknown) => void): ProgressReading {
    const reader: Reader = { job, listener, owner: undefined };
    const readers = this.readers.get(job) ?? new Set();
    this.readers.set(job, readers.add(reader));
    return {
      setOwner: (node) => {
        if (reader.owner === node) return;
        reader.owner = node;
        if (node === undefined || node === this.self) return;
        this.channel.send(node, encodeProgress({ kind: "want", jobs: [job] }));
        this.planRenewal();
      },
      close: () => this.endReading(reader),
    };
  }

  close(): void {
    this.renewal?.cancel();
    this.readers.clear();
  }

  private endReading(reader: Reader): void {
    const { job, owner } = reader;
    const readers = this.readers.get(job);
    if (readers?.delete(reader) !== true || readers.size > 0) return;
    this.readers.delete(job);
    if (owner !== undefined && owner !== this.self) {
      this.channel.send(owner, encodeProgress({ kind: "unwant", jobs: [job] }));
    }
  }

  private planRenewal(): void {
    this.renewal ??= this.env.clock.setTimer(WANT_MS, () => {
      this.renewal = undefined;
      if (this.renew()) this.planRenewal();
    });
  }

  /** Whether anything is read from another node. */
  private renew(): boolean {
    const jobsOf = new Map<NodeId, Set<JobId>>();
    for (const [job, readers] of this.readers) {
      for (const { owner } of readers) {
        if (owner === undefined || owner === this.self) continue;
        jobsOf.set(owner, (jobsOf.get(owner) ?? new Set()).add(job));
      }
    }
    for (const [node, jobs] of jobsOf) {
      const all = [...jobs];
      for (let at = 0; at < all.length; at += JOBS_PER_MESSAGE) {
        this.channel.send(node, encodeProgress({ kind: "want", jobs: all.slice(at, at + JOBS_PER_MESSAGE) }));
      }
    }
    return jobsOf.size > 0;
  }

  private receive(from: NodeId, payload: Uint8Array): void {
    let message: ReturnType<typeof parseProgress>;
    try {
      message = parseProgress(payload);
    } catch (error) {
      this.channel.refuse(from, toAetherError(error).message);
      return;
    }
    switch (message.kind) {
      case "want":
        for (const job of message.jobs) this.want(job, from);
        return;
      case "unwant":
        for (const job of message.jobs) this.forget(job, from);
        return;
      case "progress":
        return this.deliver(message.job, message.items);
      default:
        return unreachable(message);
    }
  }

  private want(job: JobId, node: NodeId): void {
    const nodes = this.wanted.get(job) ?? new Map<NodeId, number>();
    if (!nodes.has(node)) {
      if (this.wantedCount >= WANTED_MAX) this.forgetOld();
      if (this.wantedCount >= WANTED_MAX) return;
      this.wantedCount++;
    }
    this.wanted.set(job, nodes.set(node, this.env.clock.nowMs() + WANTED_MS));
  }

  private forget(job: JobId, node: NodeId): void {
    const nodes = this.wanted.get(job);
    if (nodes?.delete(node) !== true) return;
    this.wantedCount--;
    if (nodes.size === 0) this.wanted.delete(job);
  }

  private forgetOld(): void {
    const nowMs = this.env.clock.nowMs();
    for (const [job, nodes] of [...this.wanted]) {
      for (const [node, untilMs] of [...nodes]) if (untilMs <= nowMs) this.forget(job, node);
    }
  }

  private deliver(job: JobId, items: readonly unknown[]): void {
    for (const reader of [...this.readers.get(job) ?? []]) for (const item of items) reader.listener(item);
  }

  private queue(node: NodeId, job: JobId, { item, bytes }: { readonly item: unknown; readonly bytes: number }): void {
    if (this.outbox.size === 0) this.env.clock.defer(() => this.flush());
    this.outboxBytes += bytes;
    const jobs = this.outbox.get(node) ?? new Map<JobId, unknown[]>();
    this.outbox.set(node, jobs);
    const items = jobs.get(job);
    if (items === undefined) jobs.set(job, [item]);
    else items.push(item);
  }

  private flush(): void {
    for (const [node, jobs] of this.outbox) {
      for (const [job, items] of jobs) this.channel.send(node, encodeProgress({ kind: "progress", job, items }));
    }
    this.outbox.clear();
    this.outboxBytes = 0;
  }
}
