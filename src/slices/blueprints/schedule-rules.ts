// Owns: which schedules a new artifact may have.
// Does not own: everything else that it must keep to (core/manifest-rules.ts).
import { AetherError } from "../../base/errors.ts";
import { describeIssue, type SchemaIssue } from "../../base/schema-issues.ts";
import { SCHEDULES_MAX } from "../../sdk/schedule.ts";
import type { Manifest, ManifestSchedule } from "../core/manifest.ts";
import { parseCron } from "./cron-adapter.ts";

/** @throws AetherError E_INVALID with the places in `details.issues` */
export function checkSchedules(manifest: Manifest): void {
  const { artifact, schedules = {} } = manifest;
  const found = Object.entries(schedules);
  const issues: readonly SchemaIssue[] = found.length > SCHEDULES_MAX
    ? [{ path: ["schedules"], message: `it has ${found.length}; the limit is ${SCHEDULES_MAX}` }]
    : found.flatMap(([name, schedule]) => {
      const message = objectionTo(manifest, schedule);
      return message === undefined ? [] : [{ path: ["schedules", name], message }];
    });
  if (issues.length === 0) return;
  const message = `${artifact} cannot be stored: ${issues.map(describeIssue).join("; ")}`;
  throw new AetherError("E_INVALID", message, { details: { issues } });
}

function objectionTo({ methods }: Manifest, { cron, method, timeZone }: ManifestSchedule): string | undefined {
  const effect = Object.hasOwn(methods, method) ? methods[method]?.effect : undefined;
  if (effect === undefined) return `the contract has no method "${method}"`;
  // Nothing keeps a read from running twice, because nothing has to.
  if (effect === "read") return `the method "${method}" is a read, which changes nothing: nobody would see that it ran`;
  try {
    parseCron(cron, timeZone);
    return undefined;
  } catch (error) {
    if (error instanceof AetherError) return error.message;
    throw error;
  }
}
