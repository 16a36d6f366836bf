// Owns: a first look at what a job is given, with the JSON Schemas of its agent's manifest: what is certainly wrong is
// refused at the door, before anything is stored of it. Does not own: the last word. What is not judged here (patterns,
// formats, transforms, what comes after so many looks) passes, and the agent's own schema judges it in the worker.
import { AetherError, type ErrorDetails } from "../../base/errors.ts";
import { describeIssue, plainIssues, type SchemaIssue } from "../../base/schema-issues.ts";
import { checkConfig } from "../../slices/core/config-check.ts";
import type { JsonSchema, ManifestAgent } from "../../slices/core/manifest.ts";

/** Fields, items, names and alternatives of one value: this runs at each start, on the thread that votes. */
export const DOOR_LOOKS_MAX = 2_000;
/** Said of one value, and levels of a place: these become part of the log of a parent. */
const ISSUES_TOLD = 5;
const PATH_LEVELS_TOLD = 16;

/** Why something is not taken: what `E_INVALID` says, and its details. */
export interface DoorRefusal {
  readonly reason: string;
  readonly details: ErrorDetails;
}

/** What is certainly wrong with the input of a job; undefined when it may begin. */
export function inputRefusal({ input: schema }: Pick<ManifestAgent, "input">, input: unknown): DoorRefusal | undefined {
  return refusalOf("its input is not what the agent takes", schema, input);
}

/** Why a job cannot be told this; undefined when it can. An agent that names no signals hears any. */
export function signalRefusal(
  { signals }: Pick<ManifestAgent, "signals">, { name, payload }: { readonly name: string; readonly payload: unknown },
): DoorRefusal | undefined {
  const names = Object.keys(signals);
  const schema = Object.hasOwn(signals, name) ? signals[name] : undefined;
  if (schema !== undefined) return refusalOf("its payload is not what the agent waits for", schema, payload);
  if (names.length === 0) return undefined;
  return { reason: `its agent waits for no such signal: use one of ${names.join(", ")}`, details: { signals: names } };
}

/** @throws AetherError E_INVALID; `tried` is what was not done because of it */
export function throwRefusal(tried: string, refusal: DoorRefusal): never {
  throw new AetherError("E_INVALID", `${tried}: ${refusal.reason}`, { details: refusal.details });
}

/** Judges the value as whoever runs the job will have it: without anything that is `undefined`. */
function refusalOf(what: string, schema: JsonSchema, value: unknown): DoorRefusal | undefined {
  const found = checkConfig(schema, value, { looksLeft: DOOR_LOOKS_MAX });
  if (found.length === 0) return undefined;
  const issues = plainIssues(found.slice(0, ISSUES_TOLD).map(atShortPath));
  const text = issues.map((issue) => (issue.path.length === 0 ? issue.message : `at ${describeIssue(issue)}`));
  return { reason: `${what}: ${text.join("; ")}`, details: { issues } };
}

function atShortPath({ path, message }: SchemaIssue): SchemaIssue {
  return { path: path.slice(0, PATH_LEVELS_TOLD), message };
}
