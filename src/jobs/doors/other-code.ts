// Owns: jobs and another version of their code: whether it does what their logs say.
// Does not own: running it (running/replays.ts), what exactly it is (running/pins.ts).
import type { ArtifactId, JobId } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import { refOf } from "../core/ids.ts";
import type { ReplayVerdict } from "../core/worker/replay-verdict.ts";
import { collectedJob } from "../job-store.ts";
import type { Pins } from "../running/pins.ts";
import type { Replays } from "../running/replays.ts";
import type { JobLog, Jobs } from "../ports.ts";

export interface OtherCodePorts {
  readonly log: Pick<JobLog, "load">;
  readonly pins: Pick<Pins, "otherVersion">;
  readonly replays: Pick<Replays, "replay">;
}

export class OtherCode implements Pick<Jobs, "replay"> {
  private readonly ports: OtherCodePorts;

  constructor(ports: OtherCodePorts) {
    this.ports = ports;
  }

  async replay(job: JobId, artifact: ArtifactId, options: CallOptions = {}): Promise<ReplayVerdict> {
    const loaded = await this.ports.log.load(refOf(job), options);
    const { row: { pin, agent, collectedMs } } = loaded.view;
    if (collectedMs !== undefined) throw collectedJob(job, collectedMs);
    const other = await this.ports.pins.otherVersion(pin, { agent, artifact }, options);
    return await this.ports.replays.replay(loaded, other, options);
  }
}
