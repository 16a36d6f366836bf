// Owns: POST /v1/jobs/bulk: doing the same to all jobs of a filter.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { BULK_JOBS_MAX, BULK_MOVES_MAX, tellMany, type BulkAction, type BulkRequest } from "../../jobs/doors/bulk.ts";
import type { Jobs } from "../../jobs/ports.ts";
import { nameSchema } from "../../sdk/name.ts";
import { ANYBODY } from "../caller.ts";
import { jobFilterFields, jobFilterOf, jobPageFields, jobPlaceOf, versionOf } from "../job-filter.ts";
import { jsonResponse } from "../json.ts";
import { JOB_KEY_LENGTH_MAX } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import { repeatFields, resolutionSchema, traceOf } from "./jobs.ts";

const actionSchema: z.ZodType<BulkAction> = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("cancel") }),
  z.strictObject({ kind: z.literal("release") }),
  z.strictObject({
    kind: z.literal("signal"),
    name: nameSchema,
    payload: z.unknown().default(null),
    idempotencyKey: z.string().min(1).max(JOB_KEY_LENGTH_MAX).exactOptional(),
  }),
  z.strictObject({ kind: z.literal("retry"), ...repeatFields }),
  z.strictObject({ kind: z.literal("move"), artifact: z.string().transform(versionOf) }),
  z.strictObject({
    kind: z.literal("resolve"), tool: z.string().exactOptional(), resolution: resolutionSchema,
  }),
]);
const bulkSchema = z.strictObject({
  action: actionSchema,
  ...jobFilterFields,
  attributes: z.record(z.string(), z.string()).exactOptional(),
  ...jobPageFields,
  limit: z.int().min(1).max(BULK_JOBS_MAX).default(BULK_JOBS_MAX)
    .describe(`Of jobs that are moved ${BULK_MOVES_MAX} at most are looked at`),
  dryRun: z.boolean().default(false).describe("Says to which jobs it would be done, and does nothing"),
});

export function jobBulkRoutes(jobs: Jobs): readonly Route[] {
  return [{
    method: "POST",
    path: "/v1/jobs/bulk",
    summary: "Does the same to all jobs of a filter: a page of them at a time, to each on its own, and nothing to " +
      "those that have it already",
    body: bulkSchema,
    headers: { traceparent: "W3C trace context, which the spans of jobs that it makes belong to" },
    answer: "{ told, skipped, failed: [{ job, code, message }], jobs, made?: [{ job, of }], more, next?, revision }: " +
      "with more, ask again with after: next and upTo: revision",
    handle: async (request) => {
      const bulk = { ...parseBulk(await request.readJson()), ...traceOf(request) };
      return jsonResponse(200, await tellMany(jobs, bulk, ANYBODY, { signal: request.signal() }));
    },
  }];
}

function parseBulk(body: unknown): BulkRequest {
  const { action, limit, after, upTo, dryRun, ...sent } = parseInput(bulkSchema, body, "what is done to many jobs");
  if (Object.keys(sent).length === 0) {
    throw new AetherError("E_INVALID", "nothing was done: say which jobs are meant, by agent, status, waiting, " +
      "artifact, parent, attributes, createdAfter or createdBefore");
  }
  const place = jobPlaceOf({ ...(after !== undefined && { after }), ...(upTo !== undefined && { upTo }) });
  return { action, filter: jobFilterOf(sent), limit, ...place, isDryRun: dryRun };
}
