// Owns: what this node puts into inboxes of jobs: one writer for each job, which takes what came meanwhile into its
// next transaction. Does not own: what an entry does (core/life/decide-inbox.ts), and timers, which the leader fires.
import { AetherError, toAetherError } from "../../base/errors.ts";
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import type { Digest, JobId } from "../../base/ids.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { present } from "../../base/assert.ts";
import type { Clock } from "../../env/clock.ts";
import type { CallOptions } from "../../env/env.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";
import type { Op, OpResult } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { INBOX_UNREAD_MAX } from "../core/flow/inbox-entry.ts";
import { decideInbox, type Arrival, type InboxView } from "../core/life/decide-inbox.ts";
import { seenKey } from "../core/life/job-keys.ts";
import { inboxViewOf, readInboxView } from "./inbox-view.ts";
import { unknownJob } from "../job-store.ts";

export interface InboxWriterPorts {
  readonly kv: Pick<Kv, "get" | "transact">;
  /** A bug of ours: the node flushes and stops. */
  readonly onFatal: (error: unknown) => void;
}

/** `seen`: one that is known by the same has been put before; `value` is what is stored of it. */
export type Put = { readonly kind: "stored" } | { readonly kind: "seen"; readonly value: unknown };

/** Entries of one transaction: a payload is 64 KiB at most, a transaction 1 MiB. */
const ENTRIES_PER_TXN_MAX = 12;
/** The row of a job changes with its phases only: who loses as often as this has met something else. */
const TRIES_MAX = 20;
const STORED: Put = { kind: "stored" };

/** Before what an arrival is known by the job's row, its count and its head are read. */
const SEEN_AT = 3;

interface Waiting {
  readonly arrival: Arrival;
  readonly done: Deferred<Put>;
}

export class InboxWriter {
  private readonly clock: Clock;
  private readonly ports: InboxWriterPorts;
  private readonly scope: TaskScope;
  /** By job; there is a task for each. */
  private readonly waiting = new Map<JobId, Waiting[]>();

  constructor(env: { readonly clock: Clock }, ports: InboxWriterPorts) {
    this.clock = env.clock;
    this.ports = ports;
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  /**
   * Resolves once the entry is stored, and the job woken if it waits for it.
   * @throws AetherError E_NOT_FOUND, E_CONFLICT when the job has ended, E_OVERLOADED above 1,000 unread entries, and as
   *   the store does; after E_TIMEOUT it may have been stored
   */
  put(ref: JobRef, arrival: Arrival, { signal }: CallOptions = {}): Promise<Put> {
    signal?.throwIfAborted();
    if (this.scope.signal.aborted) return Promise.reject(stopping());
    const done = createDeferred<Put>();
    const before = this.waiting.get(ref.job);
    if (before === undefined) {
      this.waiting.set(ref.job, [{ arrival, done }]);
      this.scope.spawn("inbox", (closing) => this.write(ref, closing));
    } else if (before.length >= INBOX_UNREAD_MAX) {
      return Promise.reject(new AetherError("E_OVERLOADED", `${before.length} entries for job ${ref.job} wait here`));
    } else {
      before.push({ arrival, done });
    }
    return done.promise;
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  private async write(ref: JobRef, closing: AbortSignal): Promise<void> {
    const queue = present(this.waiting.get(ref.job), "there is a queue for each task");
    while (queue.length > 0) {
      const batch = takeBatch(queue);
      try {
        await this.writeBatch(ref, batch, closing);
      } catch (thrown) {
        const error = closing.aborted ? stopping() : toAetherError(thrown);
        for (const { done } of batch) done.reject(error);
      }
    }
    this.waiting.delete(ref.job);
  }

  /** Settles all of the batch, or throws: what is not settled then was not stored, or nobody knows. */
  private async writeBatch(ref: JobRef, batch: readonly Waiting[], signal: AbortSignal): Promise<void> {
    const { kv } = this.ports;
    let left = batch;
    // What is applied here is a guess that the compares check; a no is only believed of a quorum.
    let guess = await readInboxView(kv, ref, { consistency: "local", signal });
    let isGuess = true;
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const fits = guess === undefined ? left : left.slice(0, Math.max(1, roomOf(guess)));
      const decision = guess === undefined ? undefined : decideInbox(guess, fits.map(arrivalOf), this.clock.wallMs());
      if (decision === undefined || decision.kind === "refused") {
        if (!isGuess) {
          left = await this.settleTold(ref, left, signal);
          if (left.length === 0) return;
          throw refusalOf(ref, decision);
        }
        guess = await readInboxView(kv, ref, { consistency: "linearizable", signal });
        isGuess = false;
        continue;
      }
      const { succeeded, results } = await kv.transact(decision.txn, { signal });
      if (succeeded) {
        for (const { done } of fits) done.resolve(STORED);
        left = left.slice(fits.length);
        if (left.length === 0) return;
        guess = await readInboxView(kv, ref, { consistency: "linearizable", signal });
      } else {
        left = settleSeen(left, fits, results.slice(SEEN_AT));
        if (left.length === 0) return;
        guess = inboxViewOf(ref, results);
      }
      isGuess = false;
    }
    throw new AetherError("E_OVERLOADED", `job ${ref.job} changes too fast to be told something; try again`);
  }

  /** What came before the job ended, or its inbox was full, came: whoever lost the answer and asks again hears so. */
  private async settleTold(ref: JobRef, left: readonly Waiting[], signal: AbortSignal): Promise<readonly Waiting[]> {
    // A cancel asks for an end that there is.
    const keyed = left.filter(({ arrival }) => arrival.seen !== undefined && arrival.entry.kind !== "cancel");
    const reads = keyed.flatMap(({ arrival: { seen } }): readonly Op[] =>
      (seen === undefined ? [] : [{ kind: "get", key: seenKey(ref, seen.digest) }]));
    if (reads.length === 0) return left;
    const { results } = await this.ports.kv.transact({ compare: [], then: reads, else: [] }, { signal });
    return settleSeen(left, keyed, results);
  }
}

/** At most one entry of each key, so that the second one finds the first one's row. */
function takeBatch(queue: Waiting[]): readonly Waiting[] {
  const keys = new Set<Digest>();
  const batch: Waiting[] = [];
  for (const waiting of queue.slice(0, ENTRIES_PER_TXN_MAX)) {
    const digest = waiting.arrival.seen?.digest;
    if (digest !== undefined && keys.has(digest)) break;
    if (digest !== undefined) keys.add(digest);
    batch.push(waiting);
  }
  queue.splice(0, batch.length);
  return batch;
}

/** Answers those of `tried` whose key was used before, as their `results` say, and gives the others. */
function settleSeen(
  left: readonly Waiting[], tried: readonly Waiting[], results: readonly OpResult[],
): readonly Waiting[] {
  const keyed = tried.filter(({ arrival }) => arrival.seen !== undefined);
  const known = new Set<Waiting>();
  for (const [at, waiting] of keyed.entries()) {
    const result = results[at];
    if (result?.kind !== "get" || result.entry === undefined) continue;
    known.add(waiting);
    waiting.done.resolve({ kind: "seen", value: result.entry.value });
  }
  return left.filter((waiting) => !known.has(waiting));
}

function roomOf({ inbox, folded }: InboxView): number {
  return INBOX_UNREAD_MAX - (inbox.last - folded);
}

function arrivalOf({ arrival }: Waiting): Arrival {
  return arrival;
}

function refusalOf(
  { job }: JobRef, decision: Extract<ReturnType<typeof decideInbox>, { readonly kind: "refused" }> | undefined,
): AetherError {
  if (decision === undefined) return unknownJob(job);
  const { code, reason, details = {} } = decision;
  return new AetherError(code, `job ${job}: ${reason}`, { details });
}

function stopping(): AetherError {
  return new AetherError("E_UNAVAILABLE", "this node is stopping; ask another one", { outcome: "unknown" });
}
