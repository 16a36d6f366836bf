// Owns: schedules of slices: a tick calls a method, with an idempotency key that names the tick.
// Does not own: when and by whom (tick-runner.ts), that a key's handler runs once (invocation/idempotency).
import { ERRORS } from "../../base/error-catalog.ts";
import type { ErrorBody } from "../../base/errors.ts";
import { formatKey, type KeyText } from "../../kvstore/core/key.ts";
import { classOf } from "../../slices/core/call-failure.ts";
import {
  parseScheduleRow, type ResolvedSchedule, type ScheduleRow, type TickRow,
} from "../../slices/core/schedule-row.ts";
import type { OutgoingCalls } from "../../slices/host/outgoing-calls.ts";
import type { LeadingVersions } from "../rollouts/leading-versions.ts";
import type { Tick, TickEnd, TickKind, WantedTicks } from "./tick-runner.ts";

interface WantedCalls extends WantedTicks {
  readonly plan: ResolvedSchedule;
}

export interface MethodTicksPorts {
  /** A new version's schedules begin when it leads. */
  readonly leading: Pick<LeadingVersions, "all" | "guards">;
  readonly calls: OutgoingCalls;
}

export function methodTicks({ leading, calls }: MethodTicksPorts): TickKind<WantedCalls, ScheduleRow> {
  return {
    prefix: { kind: "schedules" },
    parse: (key, value) => (key.kind === "schedule" ? parseScheduleRow(value) : undefined),
    wanted: () => {
      const found = new Map<KeyText, WantedCalls>();
      for (const one of leading.all()) {
        const { slice, resolved: { schedules = [] } } = one;
        const guards = leading.guards(one);
        for (const plan of schedules) {
          const { name } = plan;
          found.set(formatKey({ kind: "schedule", slice, name }), { slice, label: name, plan, guards });
        }
      }
      return found;
    },
    rowOf: ({ plan: { method } }, ticked: TickRow) => ({ ...ticked, method }),
    isOther: ({ plan }, row) => plan.method !== row.method,
    run: (tick, signal) => callMethod(calls, tick, signal),
  };
}

async function callMethod(
  calls: OutgoingCalls, { wanted, tickMs }: Tick<WantedCalls, ScheduleRow>, signal: AbortSignal,
): Promise<TickEnd<ScheduleRow>> {
  const { slice, plan: { name, method } } = wanted;
  const idempotencyKey = `schedule/${name}/${new Date(tickMs).toISOString()}`;
  const reply = await calls.call({ slice, method, input: {}, idempotencyKey }, signal);
  if (reply.kind === "ok") return { state: "done" };
  return { state: "failed", error: reply.error, isWorthAnother: isWorthAnother(reply.error) };
}

/** Whether the same call, with the same key, may end differently. */
function isWorthAnother(error: ErrorBody): boolean {
  if (classOf(error) === "handler" || error.details?.["isFinal"] === true) return false;
  return ERRORS[error.code].retry !== "never";
}
