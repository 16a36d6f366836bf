// Owns: jobs and another version of their code: whether it does what their logs say, and moving them to it.
// Does not own: running it (running/replays.ts), what exactly it is (running/pins.ts), the transaction
// (core/life/decide-move.ts).
import { unreachable } from "../../base/assert.ts";
import { createDeferred } from "../../base/deferred.ts";
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId, Digest, JobId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { CallOptions, Env } from "../../env/env.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { seenOf } from "../core/flow/seen.ts";
import { refOf } from "../core/ids.ts";
import { decideGoOn, decideMove } from "../core/life/decide-move.ts";
import { hasEnded } from "../core/life/job-life.ts";
import { rowKey } from "../core/life/job-keys.ts";
import { parseJobRow } from "../core/rows.ts";
import type { ReplayVerdict } from "../core/worker/replay-verdict.ts";
import type { InboxWriter } from "../inbox/inbox-writer.ts";
import type { JobWatch } from "../job-watch.ts";
import { collectedJob } from "../job-store.ts";
import { HOLD_MS_MAX } from "../limits.ts";
import type { Pins } from "../running/pins.ts";
import type { Replays } from "../running/replays.ts";
import type { Caller, Decision, JobLog, Jobs, JobView, LoadedJob, MovedJob } from "../ports.ts";

export interface OtherCodePorts {
  readonly kv: Pick<Kv, "get">;
  readonly log: Pick<JobLog, "load" | "commit">;
  readonly pins: Pick<Pins, "otherVersion" | "read">;
  readonly replays: Pick<Replays, "replay">;
  readonly inbox: Pick<InboxWriter, "put">;
  readonly watch: Pick<JobWatch, "listen">;
}

/** A job that went on while it was replayed is replayed anew. */
export const MOVE_TRIES_MAX = 5;

/** For a job that is let go because it could not be moved. */
const LET_GO_MS_MAX = 10 * SECOND_MS;

interface Hold {
  /** Whose owner was asked to hold still. */
  epoch: number | undefined;
}

export class OtherCode implements Pick<Jobs, "replay" | "move"> {
  private readonly clock: Pick<Env["clock"], "wallMs" | "setTimer">;
  private readonly ports: OtherCodePorts;

  constructor({ clock }: Pick<Env, "clock">, ports: OtherCodePorts) {
    this.clock = clock;
    this.ports = ports;
  }

  async replay(job: JobId, artifact: ArtifactId, options: CallOptions = {}): Promise<ReplayVerdict> {
    const loaded = await this.load(job, options);
    return await this.ports.replays.replay(loaded, await this.pinOf(loaded, artifact, options), options);
  }

  async move(job: JobId, artifact: ArtifactId, caller: Caller, options: CallOptions = {}): Promise<MovedJob> {
    const hold: Hold = { epoch: undefined };
    try {
      return await this.moveHolding(hold, { job, artifact, caller }, options);
    } catch (error) {
      if (hold.epoch !== undefined) await this.letGo(job, hold.epoch);
      throw error;
    }
  }

  private async moveHolding(
    hold: Hold,
    { job, artifact, caller: { principal } }: {
      readonly job: JobId; readonly artifact: ArtifactId; readonly caller: Caller;
    },
    options: CallOptions,
  ): Promise<MovedJob> {
    for (let attempt = 1; attempt <= MOVE_TRIES_MAX; attempt++) {
      const loaded = await this.load(job, options);
      const { view } = loaded;
      requireLive(view);
      const pin = await this.pinOf(loaded, artifact, options);
      const hasIt = pin === view.row.pin && view.row.waiting?.reason !== "stuck";
      if (hasIt) return { kind: "moved", isNew: false };
      const verdict = await this.ports.replays.replay(loaded, pin, options);
      if (verdict.kind === "diverged") {
        if (isHeld(view, hold.epoch)) await this.commit(decideGoOn(view, this.clock.wallMs()), options);
        return verdict;
      }
      if (view.row.status === "running") {
        hold.epoch = view.row.epoch;
        await this.holdStill(view, { to: artifact, principal }, options);
        continue;
      }
      const { artifact: from } = await this.ports.pins.read(view.row.pin, options);
      const move = { pin, from, to: artifact, principal, atMs: this.clock.wallMs() };
      if (await this.commit(decideMove(view, move), options)) return { kind: "moved", isNew: true };
    }
    throw new AetherError("E_CONFLICT", `job ${job} went on each of the ${MOVE_TRIES_MAX} times that it was ` +
      "replayed: move it again", { outcome: "not-applied" });
  }

  /** It was asked to hold still for nothing: whoever asked may be gone, so that what ends their call ends not this. */
  private async letGo(job: JobId, epoch: number): Promise<void> {
    const limit = new AbortController();
    const timer = this.clock.setTimer(LET_GO_MS_MAX, () => limit.abort());
    try {
      const { view } = await this.ports.log.load(refOf(job), { signal: limit.signal });
      if (!isHeld(view, epoch)) return;
      await this.commit(decideGoOn(view, this.clock.wallMs()), { signal: limit.signal });
    } catch {
      // ignored: it says itself that it holds still, and why.
    } finally {
      timer.cancel();
    }
  }

  private async load(job: JobId, options: CallOptions): Promise<LoadedJob> {
    const loaded = await this.ports.log.load(refOf(job), options);
    const { collectedMs } = loaded.view.row;
    if (collectedMs !== undefined) throw collectedJob(job, collectedMs);
    return loaded;
  }

  private async pinOf({ view: { row } }: LoadedJob, artifact: ArtifactId, options: CallOptions): Promise<Digest> {
    return await this.ports.pins.otherVersion(row.pin, { agent: row.agent, artifact }, options);
  }

  /** False when the job is not as it was replayed. */
  private async commit(decision: Decision, options: CallOptions): Promise<boolean> {
    if (decision.kind === "refused") {
      const { code, reason, details = {} } = decision;
      throw new AetherError(code, `the job is not moved: ${reason}`, { details, outcome: "not-applied" });
    }
    const { kind } = await this.ports.log.commit(decision, options);
    switch (kind) {
      case "applied":
        return true;
      case "fenced":
      case "contended":
      case "inbox-not-empty":
        return false;
      case "corrupt":
        throw new AetherError("E_DATA_CORRUPT", `job ${decision.next.ref.job} is not moved: the end of its log is ` +
          "not what was read a moment ago");
      default:
        return unreachable(kind);
    }
  }

  /** Waits until its owner of this epoch does not run it any more. */
  private async holdStill(
    { ref, row: { epoch } }: JobView,
    { to, principal }: { readonly to: ArtifactId; readonly principal: string },
    options: CallOptions,
  ): Promise<void> {
    const changed = { next: createDeferred<void>() };
    const tell = (): void => changed.next.resolve();
    const limit = new AbortController();
    const end = (): void => limit.abort();
    const unlisten = this.ports.watch.listen(ref.job, { onRow: tell, onGap: tell });
    const timer = this.clock.setTimer(HOLD_MS_MAX, end);
    limit.signal.addEventListener("abort", tell, { once: true });
    options.signal?.addEventListener("abort", tell, { once: true });
    try {
      const seen = { digest: seenOf("hold", String(epoch)), value: null };
      await this.ports.inbox.put(ref, { entry: { kind: "hold", epoch, to, principal }, seen }, options);
      for (;;) {
        const { entry } = await this.ports.kv.get(rowKey(ref), options);
        const row = entry && parseJobRow(entry.value);
        if (row?.status !== "running" || row.epoch !== epoch) return;
        options.signal?.throwIfAborted();
        if (limit.signal.aborted) throw stillRuns(ref.job);
        await changed.next.promise;
        changed.next = createDeferred();
      }
    } finally {
      unlisten();
      timer.cancel();
      options.signal?.removeEventListener("abort", tell);
    }
  }
}

function requireLive({ ref, row: { status } }: JobView): void {
  if (!hasEnded(status)) return;
  throw new AetherError("E_CONFLICT", `job ${ref.job} has ended, so that nothing of it is going to run: aether job ` +
    "retry and fork do it again with other code", { details: { status }, outcome: "not-applied" });
}

/** It stands still because this move has asked for it. */
function isHeld({ row: { waiting, epoch } }: JobView, held: number | undefined): boolean {
  return waiting?.reason === "stuck" && epoch === held;
}

function stillRuns(job: JobId): AetherError {
  const seconds = HOLD_MS_MAX / SECOND_MS;
  return new AetherError("E_TIMEOUT", `job ${job} has a call under way for more than ${seconds} seconds, and holds ` +
    "still when that has ended: move it again then", { outcome: "not-applied" });
}
