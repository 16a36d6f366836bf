// Owns: writing the chunks of ONE running job's log, beside its appends, as it grows.
// Does not own: what a chunk is (core/log/chunk.ts).
import { toAetherError } from "../../base/errors.ts";
import type { Log } from "../../env/telemetry.ts";
import { CHUNK_EVENTS_MAX } from "../core/log/chunk.ts";
import type { JobLog, JobView } from "../ports.ts";

export interface RunChunksPorts {
  readonly log: Pick<JobLog, "chunk">;
  readonly signal: AbortSignal;
}

export class RunChunks {
  private readonly log: Log;
  private readonly ports: RunChunksPorts;
  private chunkedTo: number;
  /** The log has to be longer than this for another try. */
  private tryFrom = 0;
  private isWriting = false;

  constructor(log: Log, ports: RunChunksPorts, chunkedTo: number) {
    this.log = log;
    this.ports = ports;
    this.chunkedTo = chunkedTo;
  }

  /** The log has come to where the view says. */
  advance(view: JobView): void {
    const { seq } = view.head;
    if (this.isWriting || seq - this.chunkedTo < CHUNK_EVENTS_MAX || seq < this.tryFrom) return;
    this.isWriting = true;
    void this.write(view);
  }

  /** Without it the log is read page by page: a failure is left for later. */
  private async write(view: JobView): Promise<void> {
    const { log, signal } = this.ports;
    try {
      const chunkedTo = await log.chunk(view, this.chunkedTo, { signal });
      if (chunkedTo === undefined) this.tryFrom = view.head.seq + CHUNK_EVENTS_MAX;
      else this.chunkedTo = chunkedTo;
    } catch (error) {
      this.tryFrom = view.head.seq + CHUNK_EVENTS_MAX;
      if (signal.aborted) return;
      const { code, message: reason } = toAetherError(error);
      this.log.debug({ event: "jobs.chunk-not-written", code, reason });
    } finally {
      this.isWriting = false;
    }
  }
}
