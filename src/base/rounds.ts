// Owns: work in the background that is done again and again, and whose failure only means that a round was in vain.
import { AssertionError } from "./assert.ts";
import { toAetherError, type AetherError } from "./errors.ts";

export interface Rounds {
  /** Before the first round, and between two. */
  readonly firstAfterMs: number;
  readonly everyMs: number;
  work(): Promise<void>;
  /** A round ended early; the next one looks again. */
  onFailure(error: AetherError): void;
}

/** Goes on until the signal aborts. Rejects with its reason, or with an AssertionError, because a bug is no failure. */
export async function doRounds(
  clock: { sleep(ms: number, signal: AbortSignal): Promise<void> },
  { firstAfterMs, everyMs, work, onFailure }: Rounds,
  signal: AbortSignal,
): Promise<void> {
  for (let waitMs = firstAfterMs; !signal.aborted; waitMs = everyMs) {
    await clock.sleep(waitMs, signal);
    try {
      await work();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof AssertionError) throw error;
      onFailure(toAetherError(error));
    }
  }
}
