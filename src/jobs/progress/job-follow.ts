// Owns: following one job as it goes on: its state, what its code emits, its end. On any node.
// Does not own: the way of what is emitted (progress-hub.ts), hearing of changes (job-watch.ts).
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { JobId } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { refOf } from "../core/ids.ts";
import { hasEnded } from "../core/life/job-life.ts";
import { resultKey, rowKey } from "../core/life/job-keys.ts";
import { parseJobResult, parseJobRow } from "../core/rows.ts";
import { unknownJob } from "../job-store.ts";
import type { JobWatch } from "../job-watch.ts";
import type { Following, JobFollower } from "../ports.ts";
import type { ProgressHub, ProgressReading } from "./progress-hub.ts";

export interface JobFollowPorts {
  readonly kv: Pick<Kv, "get">;
  readonly watch: Pick<JobWatch, "listen">;
  readonly progress: Pick<ProgressHub, "read">;
}

/** The first state is told before this resolves. @throws AetherError E_NOT_FOUND */
export async function followJob(
  ports: JobFollowPorts, job: JobId, follower: JobFollower, options: CallOptions = {},
): Promise<Following> {
  const following = new JobFollowing(ports, job, follower);
  try {
    await following.begin(options);
  } catch (error) {
    following.close();
    throw error;
  }
  return following;
}

class JobFollowing implements Following {
  private readonly ports: JobFollowPorts;
  private readonly job: JobId;
  private readonly follower: JobFollower;
  private readonly progress: ProgressReading;
  private readonly unlisten: () => void;
  private revision = 0;
  private isOver = false;

  constructor(ports: JobFollowPorts, job: JobId, follower: JobFollower) {
    this.ports = ports;
    this.job = job;
    this.follower = follower;
    this.progress = ports.progress.read(job, (item) => {
      if (!this.isOver) follower.onProgress(item);
    });
    this.unlisten = ports.watch.listen(job, {
      onRow: (value, modRevision) => void this.guard(() => this.take(value, modRevision)),
      onGap: () => void this.guard(() => this.read()),
    });
  }

  begin(options: CallOptions): Promise<void> {
    return this.read(options);
  }

  close(): void {
    this.isOver = true;
    this.unlisten();
    this.progress.close();
  }

  private async read(options: CallOptions = {}): Promise<void> {
    const { entry } = await this.ports.kv.get(rowKey(refOf(this.job)), options);
    if (entry === undefined) throw unknownJob(this.job);
    await this.take(entry.value, entry.modRevision);
  }

  private async take(value: unknown, modRevision: number): Promise<void> {
    if (this.isOver || modRevision <= this.revision) return;
    this.revision = modRevision;
    if (value === undefined) throw unknownJob(this.job);
    const row = parseJobRow(value);
    this.progress.setOwner(row.owner?.node);
    this.follower.onState(row);
    if (hasEnded(row.status)) await this.tellEnd();
  }

  /** As this node has it applied: the result was stored with the state that was told. */
  private async tellEnd(): Promise<void> {
    const { entry } = await this.ports.kv.get(resultKey(refOf(this.job)), { consistency: "local" });
    if (this.isOver) return;
    if (entry === undefined) throw new AetherError("E_DATA_CORRUPT", `job "${this.job}" has ended without a result`);
    const result = parseJobResult(entry.value);
    this.close();
    this.follower.onEnd(result);
  }

  private async guard(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (this.isOver) return;
      this.close();
      this.follower.onError(toAetherError(error));
    }
  }
}
