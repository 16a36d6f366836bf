// Owns: which schedules a new artifact and its agents may have.
// Does not own: everything else that it must keep to (core/manifest-rules.ts).
import { AetherError } from "../../base/errors.ts";
import { describeIssue, type SchemaIssue } from "../../base/schema-issues.ts";
import { KiB } from "../../base/units.ts";
import { SCHEDULES_MAX } from "../../sdk/schedule.ts";
import { checkConfig } from "../core/config-check.ts";
import type { Manifest, ManifestAgent, ManifestAgentSchedule, ManifestSchedule } from "../core/manifest.ts";
import { plainRefusalError, toPlain } from "../core/plain-data.ts";
import { parseCron } from "./cron-adapter.ts";

/** The input of a scheduled job: it is part of each revision of its blueprint. */
export const SCHEDULE_INPUT_BYTES_MAX = 4 * KiB;
/** Fields, items, names and alternatives looked at in one input. */
const INPUT_LOOKS_MAX = 2_000;

/** @throws AetherError E_INVALID with the places in `details.issues` */
export function checkSchedules(manifest: Manifest): void {
  const { artifact, schedules = {}, agents = {} } = manifest;
  const issues = [
    ...issuesOf(["schedules"], schedules, (one) => objectionTo(manifest, one)),
    ...Object.entries(agents).flatMap(([name, agent]) =>
      issuesOf(["agents", name, "schedules"], agent.schedules ?? {}, (one) => objectionToJobs(agent, one))),
  ];
  if (issues.length === 0) return;
  const message = `${artifact} cannot be stored: ${issues.map(describeIssue).join("; ")}`;
  throw new AetherError("E_INVALID", message, { details: { issues } });
}

function issuesOf<S>(
  path: readonly string[], schedules: Readonly<Record<string, S>>, objection: (schedule: S) => string | undefined,
): readonly SchemaIssue[] {
  const found = Object.entries(schedules);
  if (found.length > SCHEDULES_MAX) return [{ path, message: `it has ${found.length}; the limit is ${SCHEDULES_MAX}` }];
  return found.flatMap(([name, schedule]) => {
    const message = objection(schedule);
    return message === undefined ? [] : [{ path: [...path, name], message }];
  });
}

function objectionTo({ methods }: Manifest, { cron, method, timeZone }: ManifestSchedule): string | undefined {
  const effect = Object.hasOwn(methods, method) ? methods[method]?.effect : undefined;
  if (effect === undefined) return `the contract has no method "${method}"`;
  // Nothing keeps a read from running twice, because nothing has to.
  if (effect === "read") return `the method "${method}" is a read, which changes nothing: nobody would see that it ran`;
  return messageOf(() => parseCron(cron, timeZone));
}

function objectionToJobs({ input: schema }: ManifestAgent, schedule: ManifestAgentSchedule): string | undefined {
  const { cron, timeZone, input } = schedule;
  const plain = toPlain(input, SCHEDULE_INPUT_BYTES_MAX);
  if (plain.kind !== "plain") return plainRefusalError("its input cannot be that of a job", plain).message;
  const [issue] = checkConfig(schema, plain.value, { looksLeft: INPUT_LOOKS_MAX });
  if (issue !== undefined) return `its input is not what the agent takes: ${describeIssue(issue)}`;
  return messageOf(() => parseCron(cron, timeZone));
}

/** Why it cannot be read, if so. */
function messageOf(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (error instanceof AetherError) return error.message;
    throw error;
  }
}
