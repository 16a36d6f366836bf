// Owns: letting time pass for drivers over a real store: their clock is the test's, the store's time is real.
import { LEADER_KEY } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import type { ManualClock } from "./manual-clock.ts";

const QUIET_READS = 5;

interface Passing {
  readonly clock: ManualClock;
  readonly kv: Pick<Kv, "get" | "revision">;
}

/** Until nothing was written for some reads: what had to be done by then is done. */
export async function passTime({ clock, kv }: Passing, durationMs: number): Promise<void> {
  await clock.advance(durationMs);
  for (let quiet = 0, revision = kv.revision; quiet < QUIET_READS; quiet++) {
    await kv.get(LEADER_KEY);
    await clock.settle();
    if (kv.revision !== revision) quiet = 0;
    ({ revision } = kv);
  }
}
