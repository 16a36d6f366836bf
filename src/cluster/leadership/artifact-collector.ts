// Owns: the leader's collection of artifacts that nobody needs, and of chunks that belong to none.
// Does not own: what is needed and how it is removed without a race (slices/artifacts/artifact-removal.ts).
//
// Every removal carries the fence of the leadership. Only the wait before chunks are swept is remembered here: a new
// leader waits anew, so it is never early.
import { z } from "zod";
import type { Digest } from "../../base/ids.ts";
import { doRounds } from "../../base/rounds.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import type { ArtifactRemoval, Leftover } from "../../slices/artifacts/artifact-removal.ts";
import type { LeadershipService } from "./leadership-service.ts";

export const ArtifactsConfig = z.strictObject({
  keepHours: z.int().min(0).max(87_600).default(24)
    .describe("Hours for which an artifact that nothing needs stays after it was pushed last: time to apply it."),
  keepChunksMs: z.int().min(SECOND_MS).max(24 * HOUR_MS).default(HOUR_MS)
    .describe("Milliseconds for which chunks of no artifact stay: a push writes its chunks first, and begins anew " +
      "when they are taken from under it."),
  collectEveryMs: z.int().min(SECOND_MS).max(24 * HOUR_MS).default(10 * MINUTE_MS)
    .describe("Milliseconds between two collections, by the node that leads; each reads the row of every artifact."),
});
export type ArtifactsConfig = z.output<typeof ArtifactsConfig>;

export interface ArtifactCollectorPorts {
  readonly removal: Pick<ArtifactRemoval, "survey" | "removeUnneeded" | "leftovers" | "sweep">;
  readonly leadership: Pick<LeadershipService, "fence">;
  readonly onFatal: (error: unknown) => void;
}

export class ArtifactCollector {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: ArtifactCollectorPorts;
  private readonly config: ArtifactsConfig;
  private readonly scope: TaskScope;
  /** Chunks without a row: how they were, and since when. */
  private waiting = new Map<Digest, { readonly seen: string; readonly sinceMs: number }>();

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: ArtifactCollectorPorts,
    config: ArtifactsConfig,
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.config = config;
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  start(): void {
    this.scope.spawn("artifact-collector", (signal) => doRounds(this.clock, {
      firstAfterMs: this.config.collectEveryMs,
      everyMs: this.config.collectEveryMs,
      work: () => this.round(signal),
      // Whatever it is, nothing was removed that should not be.
      onFailure: ({ code, message: reason }) => this.log.warn({ event: "artifact.not-collected", code, reason }),
    }, signal));
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  private async round(signal: AbortSignal): Promise<void> {
    await this.collect(signal);
    await this.sweep(signal);
  }

  private async collect(signal: AbortSignal): Promise<void> {
    const { removal, leadership } = this.ports;
    if (leadership.fence() === undefined) return;
    // Wall time, because it has to outlast leaders: a clock that is wrong costs a push, never an instance.
    const pushedBeforeMs = this.clock.wallMs() - this.config.keepHours * HOUR_MS;
    for (const stored of await removal.survey({ signal })) {
      const { artifact, neededBy, row: { bytes, pushedAtMs } } = stored;
      if (neededBy.length > 0 || pushedAtMs > pushedBeforeMs) continue;
      const fence = leadership.fence();
      if (fence === undefined) return;
      const isRemoved = await removal.removeUnneeded(stored, [fence], { signal });
      if (isRemoved) this.log.info({ event: "artifact.removed", artifact, bytes });
    }
  }

  private async sweep(signal: AbortSignal): Promise<void> {
    const { removal, leadership } = this.ports;
    const found = leadership.fence() === undefined ? [] : await removal.leftovers({ signal });
    this.waiting = new Map(found.map((leftover) => [leftover.digest, this.sinceWhen(leftover)]));
    for (const leftover of found) {
      const fence = leadership.fence();
      const sinceMs = this.waiting.get(leftover.digest)?.sinceMs ?? this.clock.nowMs();
      if (fence === undefined || this.clock.nowMs() - sinceMs < this.config.keepChunksMs) continue;
      const isSwept = await removal.sweep(leftover, [fence], { signal });
      if (isSwept) this.log.info({ event: "artifact.chunks-swept", digest: leftover.digest });
    }
  }

  private sinceWhen({ digest, seen }: Leftover): { readonly seen: string; readonly sinceMs: number } {
    const known = this.waiting.get(digest);
    return known?.seen === seen ? known : { seen, sinceMs: this.clock.nowMs() };
  }
}
