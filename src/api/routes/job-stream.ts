// Owns: /v1/jobs/{job}/stream: how a job goes on, as server-sent events.
// Does not own: where its progress comes from (jobs/progress).
import { AetherError } from "../../base/errors.ts";
import { parseJobId, type JobId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock, Timer } from "../../env/clock.ts";
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

/** A reader that hears nothing for longer may take the connection for lost. */
const SIGN_OF_LIFE_MS = 10 * SECOND_MS;

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
  private readonly closing: AbortSignal;
  private readonly job: JobId;
  private readonly stream: EventStream;
  private following: Following | undefined;
  private signOfLife: Timer | undefined;
  private missed = 0;
  private isGone = false;

  constructor(ports: JobStreamPorts, closing: AbortSignal, job: JobId) {
    this.ports = ports;
    this.closing = closing;
    this.job = job;
    this.stream = new EventStream(() => this.release());
  }

  async open(signal: AbortSignal): Promise<Response> {
    this.closing.addEventListener("abort", this.onClosing);
    try {
      this.following = await this.ports.jobs.follow(this.job, this, { signal });
    } catch (error) {
      this.release();
      throw error;
    }
    if (this.isGone) this.following.close();
    else this.planSignOfLife();
    return this.stream.response;
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
    this.stream.end({ event: "error", data: jsonText({ error: error.toBody() }) });
  }

  private readonly onClosing = (): void => {
    this.onError(new AetherError("E_UNAVAILABLE", "this node is stopping; follow the job on another one"));
  };

  private send(event: string, data: unknown): void {
    this.stream.send([{ event, data: jsonText(data) }]);
  }

  private planSignOfLife(): void {
    this.signOfLife = this.ports.clock.setTimer(SIGN_OF_LIFE_MS, () => {
      if (!this.stream.isFull) this.send("alive", {});
      this.planSignOfLife();
    });
  }

  private release(): void {
    this.isGone = true;
    this.closing.removeEventListener("abort", this.onClosing);
    this.signOfLife?.cancel();
    this.following?.close();
  }
}
