// Owns: which pins are needed, and with them artifacts: those of jobs that have not ended, and those that a job may be
// about to be started with. Does not own: removing artifacts (slices/artifacts/artifact-removal.ts).
// JOB11  What a live job runs stays: a pin that is compared unchanged and was not renewed for an hour is in no start
//        under way, because a start renews one that was not for half an hour.
import type { Digest } from "../../base/ids.ts";
import { HOUR_MS } from "../../base/units.ts";
import type { CallOptions } from "../../env/env.ts";
import type { Clock } from "../../env/clock.ts";
import { prefixOf } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { understood, type PinnedArtifact, type PinnedArtifacts } from "../../slices/artifacts/artifact-removal.ts";
import { listRows } from "../../slices/list-rows.ts";
import { hasEnded } from "../core/life/job-life.ts";
import { parseJobRow, parsePinRow } from "../core/rows.ts";

/** Twice the time after which a start renews a pin: clocks of nodes may differ. */
const KEPT_MS = HOUR_MS;

export class PinNeeds implements PinnedArtifacts {
  private readonly clock: Pick<Clock, "wallMs">;
  private readonly kv: Kv;

  constructor(env: { readonly clock: Pick<Clock, "wallMs"> }, kv: Kv) {
    this.clock = env.clock;
    this.kv = kv;
  }

  /** @throws AetherError E_DATA_CORRUPT, E_UNAVAILABLE when it is not known what a job runs */
  async survey(options: CallOptions): Promise<readonly PinnedArtifact[]> {
    // Pins first: a job that is started after this has renewed its pin, or its pin is new.
    const pins = await listRows(this.kv, prefixOf({ kind: "job-pins" }), options);
    if (pins.length === 0) return [];
    const live = await this.countLive(options);
    return pins.flatMap(({ key, value, modRevision }): readonly PinnedArtifact[] => {
      const parsed = understood(key);
      if (parsed.kind !== "job-pin") return [];
      const { artifact, renewedMs } = parsePinRow(value);
      const jobs = live.get(parsed.digest) ?? 0;
      const isNew = Math.abs(this.clock.wallMs() - renewedMs) < KEPT_MS;
      const neededBy = jobs > 0 ? `${jobs} jobs that have not ended` : "a job that may be about to be started";
      return [{ artifact, pin: key, modRevision, ...(jobs > 0 || isNew ? { neededBy } : {}) }];
    });
  }

  private async countLive(options: CallOptions): Promise<ReadonlyMap<Digest, number>> {
    const counts = new Map<Digest, number>();
    let after: string | undefined;
    for (;;) {
      const query = { prefix: prefixOf({ kind: "jobs" }), ...(after === undefined ? {} : { after }) };
      const page = await this.kv.list(query, options);
      for (const { key, value } of page.entries) {
        if (understood(key).kind !== "job") continue;
        const { pin, status } = parseJobRow(value);
        if (!hasEnded(status)) counts.set(pin, (counts.get(pin) ?? 0) + 1);
      }
      after = page.entries.at(-1)?.key;
      if (!page.more || after === undefined) return counts;
    }
  }
}
