// Owns: which jobs a listing or a bulk request is about, as both have it over HTTP.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { parseArtifactId, parseJobId, type ArtifactId } from "../base/ids.ts";
import { JOB_STATUSES, WAIT_REASONS } from "../jobs/core/rows.ts";
import type { JobFilter, JobPageQuery } from "../jobs/ports.ts";
import { nameSchema } from "../sdk/name.ts";

const time = z.union([z.string(), z.int().min(0)]);

/** All of them have to hold; `attributes` come in another form in a query. */
export const jobFilterFields = {
  agent: nameSchema.exactOptional(),
  status: z.enum(JOB_STATUSES).exactOptional(),
  waiting: z.enum(WAIT_REASONS).exactOptional().describe("Jobs that wait for this"),
  artifact: z.string().exactOptional().describe("Jobs that run this version, as group:name@version"),
  parent: z.string().exactOptional().describe("Jobs that this one has started"),
  createdAfter: time.exactOptional().describe("Started at this time or later: ISO 8601, or milliseconds since 1970"),
  createdBefore: time.exactOptional().describe("Started before this time"),
};

/** Where a page begins, and which jobs there are for it. */
export const jobPageFields = {
  after: z.string().exactOptional().describe("Only jobs after this one"),
  upTo: z.coerce.number().int().min(0).exactOptional()
    .describe("Only jobs that were there at this revision of the store: `revision` of the first answer"),
};

interface SentFilter extends Omit<JobFilter, "parent" | "artifact" | "createdFromMs" | "createdBeforeMs"> {
  readonly artifact?: string;
  readonly parent?: string;
  readonly createdAfter?: string | number;
  readonly createdBefore?: string | number;
}

/** @throws AetherError E_INVALID */
export function jobFilterOf({ artifact, parent, createdAfter, createdBefore, ...rest }: SentFilter): JobFilter {
  return {
    ...rest,
    ...(artifact !== undefined && { artifact: versionOf(artifact) }),
    ...(parent !== undefined && { parent: parseJobId(parent) }),
    ...(createdAfter !== undefined && { createdFromMs: timeOf(createdAfter) }),
    ...(createdBefore !== undefined && { createdBeforeMs: timeOf(createdBefore) }),
  };
}

/** @throws AetherError E_INVALID */
export function jobPlaceOf(
  { after, upTo }: { readonly after?: string; readonly upTo?: number },
): Pick<JobPageQuery, "after" | "upTo"> {
  return { ...(after !== undefined && { after: parseJobId(after) }), ...(upTo !== undefined && { upTo }) };
}

/** As blueprints write it, with "@", or as coordinates. @throws AetherError E_INVALID */
export function versionOf(text: string): ArtifactId {
  const at = text.lastIndexOf("@");
  return parseArtifactId(at === -1 ? text : `${text.slice(0, at)}:${text.slice(at + 1)}`);
}

function timeOf(time: string | number): number {
  const ms = typeof time === "number" || /^\d+$/.test(time) ? Number(time) : Date.parse(time);
  if (Number.isSafeInteger(ms)) return ms;
  throw new AetherError("E_INVALID", `"${String(time).slice(0, 100)}" is no time: use 2026-01-31T12:00:00Z, or ` +
    "milliseconds since 1970");
}
