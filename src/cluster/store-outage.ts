// Owns: telling an outage of the store from a failure, saying it once, and how long to wait before the next try.
import { toAetherError, type AetherError } from "../base/errors.ts";
import type { ErrorCode } from "../base/error-catalog.ts";
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";

const RETRY_FIRST_MS = 100;
const RETRY_MS_MAX = 2_000;

/** Codes that pass by themselves: no quorum, a node that starts, a full queue or store, an answer that never came. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "E_NO_QUORUM", "E_UNAVAILABLE", "E_OVERLOADED", "E_TIMEOUT", "E_QUOTA",
]);

/** One per service: a loss of quorum is one line in the log, not one per try. */
export class StoreOutage {
  private readonly log: Log;
  private readonly service: string;
  private failures = 0;

  constructor(log: Log, service: string) {
    this.log = log;
    this.service = service;
  }

  /** Notes a failed try and returns how long to wait. Rethrows what does not pass by itself. */
  noteFailure(thrown: unknown): number {
    const error = toAetherError(thrown);
    if (!isPassing(error)) throw thrown;
    if (this.failures === 0) {
      const { code, message: reason } = error;
      this.log.warn({ event: "cluster.store-unavailable", service: this.service, code, reason });
    }
    this.failures++;
    return Math.min(RETRY_FIRST_MS * 2 ** Math.min(this.failures - 1, 8), RETRY_MS_MAX);
  }

  noteSuccess(): void {
    if (this.failures === 0) return;
    this.failures = 0;
    this.log.info({ event: "cluster.store-available", service: this.service });
  }
}

/**
 * Does the work again until the store lets it. @throws what does not pass by itself, or the signal's reason
 */
export async function throughOutage<T>(
  clock: Pick<Clock, "sleep">, outage: StoreOutage, work: () => Promise<T>, signal?: AbortSignal,
): Promise<T> {
  for (;;) {
    try {
      const result = await work();
      outage.noteSuccess();
      return result;
    } catch (error) {
      signal?.throwIfAborted();
      await clock.sleep(outage.noteFailure(error), signal);
    }
  }
}

export function isPassing(error: AetherError): boolean {
  return PASSING.has(error.code);
}
