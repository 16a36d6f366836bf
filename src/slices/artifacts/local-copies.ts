// Owns: removing this node's copies of artifacts that the store does not hold any more.
// Does not own: the copies (blob-cache-adapter.ts, bundle-files-adapter.ts). Losing one that is needed costs a fetch.
import { z } from "zod";
import { parseDigest, type Digest } from "../../base/ids.ts";
import { doRounds } from "../../base/rounds.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { HOUR_MS, MINUTE_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import { prefixOf } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { listRows } from "../list-rows.ts";

/** Files that are named by a digest. */
export interface CopiedFiles {
  /** Removes the files of other digests that were written before that wall time. Answers how many. */
  retain(kept: ReadonlySet<Digest>, writtenBeforeMs: number): Promise<number>;
}

export interface LocalCopiesPorts {
  readonly kv: Kv;
  readonly copies: readonly CopiedFiles[];
  readonly onFatal: (error: unknown) => void;
}

/** Not at once: a node that has just started is busy, and may not know the store as it is. */
const FIRST_LOOK_MS = 10 * MINUTE_MS;
const LOOK_EVERY_MS = HOUR_MS;
/** A copy may be older than the row that this node knows. */
const YOUNG_MS = HOUR_MS;

const digest = z.string().transform(parseDigest);
const rowSchema = z.object({ digest, manifest: z.object({ digest }) });

export class LocalCopies {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: LocalCopiesPorts;
  private readonly scope: TaskScope;

  constructor(env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: LocalCopiesPorts) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  start(): void {
    this.scope.spawn("local-copies", (signal) => doRounds(this.clock, {
      firstAfterMs: FIRST_LOOK_MS,
      everyMs: LOOK_EVERY_MS,
      work: () => this.clean(signal),
      onFailure: ({ code, message: reason }) => this.log.warn({ event: "artifact.copies-not-cleaned", code, reason }),
    }, signal));
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  private async clean(signal: AbortSignal): Promise<void> {
    const rows = await listRows(this.ports.kv, prefixOf({ kind: "artifacts" }), { signal, consistency: "local" });
    const kept = new Set<Digest>();
    for (const { value } of rows) {
      const parsed = rowSchema.safeParse(value);
      // Which files such a row stands for is not known.
      if (!parsed.success) return;
      kept.add(parsed.data.digest);
      kept.add(parsed.data.manifest.digest);
    }
    for (const copies of this.ports.copies) {
      const files = await copies.retain(kept, this.clock.wallMs() - YOUNG_MS);
      if (files > 0) this.log.info({ event: "artifact.copies-removed", files });
    }
  }
}
