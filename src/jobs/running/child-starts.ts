// Owns: finding out whether a job may start a child now, and what the child runs. Does not own: starting it, which is
// part of an append of the parent (core/life/children.ts).
import { toAetherError, type AetherError } from "../../base/errors.ts";
import type { ErrorCode } from "../../base/error-catalog.ts";
import type { Digest, JobId } from "../../base/ids.ts";
import { storable } from "../../cluster/core/plain-value.ts";
import { StoreOutage, throughOutage } from "../../cluster/store-outage.ts";
import type { Env } from "../../env/env.ts";
import { encodeValue } from "../../kvstore/core/value.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { inputRefusal } from "../core/door-check.ts";
import { refOf } from "../core/ids.ts";
import { CHILD_DEPTH_MAX, CHILDREN_MAX, depthOf, type WantChild } from "../core/life/children.ts";
import { rowKey } from "../core/life/job-keys.ts";
import type { ChildAnswer } from "../core/run/plan.ts";
import type { Pins } from "./pins.ts";
import type { JobView } from "../ports.ts";

export interface ChildStartsPorts {
  readonly kv: Pick<Kv, "get">;
  readonly pins: Pick<Pins, "resolve" | "hasAgent" | "needsOf" | "definitionOf">;
  /** @throws AetherError E_QUOTA, E_OVERLOADED when no job is started now */
  readonly checkRoom: () => void;
}

export interface ChildQuestion {
  readonly parent: JobView;
  readonly want: WantChild;
  readonly child: JobId;
  /** Children that the parent has started. */
  readonly started: number;
  /** The store did not take the child the last time: its pin may be gone, or its id taken. */
  readonly isAgain: boolean;
}

/** What is no matter of the moment: the code of the parent hears of it. Everything else is tried again. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  "E_NOT_FOUND", "E_CONFLICT", "E_INVALID", "E_TOO_LARGE", "E_QUOTA", "E_OVERLOADED",
]);

export class ChildStarts {
  private readonly clock: Env["clock"];
  private readonly ports: ChildStartsPorts;
  private readonly outage: StoreOutage;

  constructor({ clock, telemetry }: Pick<Env, "clock" | "telemetry">, ports: ChildStartsPorts) {
    this.clock = clock;
    this.ports = ports;
    this.outage = new StoreOutage(telemetry.log, "job children");
  }

  /** Rejects only when it is aborted. */
  answer(question: ChildQuestion, signal: AbortSignal): Promise<ChildAnswer> {
    return throughOutage(this.clock, this.outage, async () => {
      try {
        return refusalOf(question) ?? await this.find(question, signal);
      } catch (thrown) {
        signal.throwIfAborted();
        const error = toAetherError(thrown);
        if (REFUSALS.has(error.code)) return refusedWith(question, error);
        throw error;
      }
    }, signal);
  }

  private async find({ parent, want, child, isAgain }: ChildQuestion, signal: AbortSignal): Promise<ChildAnswer> {
    const { kv, pins, checkRoom } = this.ports;
    checkRoom();
    encodeValue(storable(want.input));
    const { pin } = parent.row;
    if (isAgain) {
      const { entry } = await kv.get(rowKey(refOf(child)), { signal });
      if (entry !== undefined) return refused(want, "E_CONFLICT", `there is a job ${child} that is not its child`);
    }
    // What a job was begun with stays as it was, with all of its package.
    if (await pins.hasAgent(pin, want.agent, { signal })) return await this.ready(pin, want, signal);
    const resolved = await pins.resolve(want.agent, { signal });
    const other = isAgain ? await pins.resolve(want.agent, { signal, isGone: resolved }) : resolved;
    return await this.ready(other, want, signal);
  }

  private async ready(pin: Digest, want: WantChild, signal: AbortSignal): Promise<ChildAnswer> {
    const { pins } = this.ports;
    // What is stored apart is checked where it runs.
    const definition = want.blob === undefined ? await pins.definitionOf(pin, want.agent, { signal }) : undefined;
    const refusal = definition && inputRefusal(definition, want.input);
    if (refusal !== undefined) return refused(want, "E_INVALID", refusal.reason, refusal.details);
    return { kind: "ready", pin, needs: await pins.needsOf(pin, want.agent, { signal }) };
  }
}

function refusalOf({ parent, want, started }: ChildQuestion): ChildAnswer | undefined {
  if (depthOf(parent.spec) >= CHILD_DEPTH_MAX) {
    const reason = `${CHILD_DEPTH_MAX} jobs are above it already: let a job further up start it`;
    return refused(want, "E_TOO_LARGE", reason, { limit: CHILD_DEPTH_MAX });
  }
  if (started < CHILDREN_MAX) return undefined;
  const reason = `the job has started ${started} already: let some of them start the others`;
  return refused(want, "E_TOO_LARGE", reason, { limit: CHILDREN_MAX });
}

function refusedWith({ want }: ChildQuestion, { code, message, details }: AetherError): ChildAnswer {
  return refused(want, code, message, details);
}

function refused(
  { agent }: WantChild, code: ErrorCode, reason: string, details: Readonly<Record<string, unknown>> = {},
): ChildAnswer {
  const message = `the child of the agent "${agent}" was not started: ${reason}`;
  return { kind: "refused", error: { name: "AetherError", code, message, details: { ...details, agent } } };
}
