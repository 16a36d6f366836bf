// Owns: /v1/jobs/{job}/stream: how a job goes on, as server-sent events.
// Does not own: where its progress comes from (jobs/progress).
import type { AetherError } from "../../base/errors.ts";
import { parseJobId, type JobId } from "../../base/ids.ts";
import type { Clock } from "../../env/clock.ts";
import type { JobResult, JobRow } from "../../jobs/core/rows.ts";
import type { Following, JobFollower, Jobs } from "../../jobs/ports.ts";
import { EventStream } from "../event-stream.ts";
import { listedJson } from "../job-json.ts";
import { jsonText } from "../../base/json-text.ts";
import type { Route } from "../route.ts";

export interface JobStreamPorts {
  readonly jobs: Pick<Jobs, "follow">;
  readonly clock: Pick<Clock, "setTimer">;
}

export function jobStreamRoute(ports: JobStreamPorts, closing: AbortSignal): Route {
  return {
    method: "GET",
    path: "/v1/jobs/:job/stream",
    summary: "How a job goes on, as server-sent events: state (first as it is, then when it has changed), progress " +
      "(what its code emits; what a slow reader misses is counted in the next one), alive (every 10 s), end",
    answer: "text/event-stream: state as in the list; progress { data, missed? }; end { job, result }; error",
    expectsMisses: true,
    handle: (request) => new JobStream(ports, closing, parseJobId(request.param("job"))).open(request.signal()),
  };
}

class JobStream implements JobFollower {
  private readonly ports: JobStreamPorts;
  private readonly job: JobId;
  private readonly stream: EventStream;
  private following: Following | undefined;
  private missed = 0;
  private isGone = false;

  constructor(ports: JobStreamPorts, closing: AbortSignal, job: JobId) {
    this.ports = ports;
    this.job = job;
    const elsewhere = "follow the job on another one";
    this.stream = new EventStream({ closing, elsewhere, onGone: () => this.release() });
  }

  async open(signal: AbortSignal): Promise<Response> {
    this.following = await this.ports.jobs.follow(this.job, this, { signal });
    if (this.isGone) this.following.close();
    else this.stream.keepAlive(this.ports.clock);
    return this.stream.open();
  }

  onState(row: JobRow): void {
    this.send("state", listedJson({ job: this.job, row }));
  }

  onProgress(item: unknown): void {
    if (this.stream.isFull) this.missed++;
    else {
      this.send("progress", { data: item, ...(this.missed === 0 ? {} : { missed: this.missed }) });
      this.missed = 0;
    }
  }

  onEnd(result: JobResult): void {
    this.stream.end({ event: "end", data: jsonText({ job: this.job, result }) });
  }

  onError(error: AetherError): void {
    this.stream.fail(error);
  }

  private send(event: string, data: unknown): void {
    this.stream.send([{ event, data: jsonText(data) }]);
  }

  private release(): void {
    this.isGone = true;
    this.following?.close();
  }
}
