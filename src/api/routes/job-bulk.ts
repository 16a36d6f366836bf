// Owns: POST /v1/jobs/bulk: telling all jobs of a filter the same.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseJobId } from "../../base/ids.ts";
import { BULK_JOBS_MAX, tellMany, type BulkAction, type BulkRequest } from "../../jobs/doors/bulk.ts";
import { JOB_STATUSES } from "../../jobs/core/rows.ts";
import type { Jobs } from "../../jobs/ports.ts";
import { nameSchema } from "../../sdk/name.ts";
import { ANYBODY } from "../caller.ts";
import { jsonResponse } from "../json.ts";
import { JOB_KEY_LENGTH_MAX } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";

const actionSchema: z.ZodType<BulkAction> = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("cancel") }),
  z.strictObject({
    kind: z.literal("signal"),
    name: nameSchema,
    payload: z.unknown().default(null),
    idempotencyKey: z.string().min(1).max(JOB_KEY_LENGTH_MAX).exactOptional(),
  }),
]);
const bulkSchema = z.strictObject({
  action: actionSchema,
  agent: nameSchema.exactOptional(),
  status: z.enum(JOB_STATUSES).exactOptional(),
  parent: z.string().exactOptional(),
  attributes: z.record(z.string(), z.string()).exactOptional(),
  limit: z.int().min(1).max(BULK_JOBS_MAX).default(BULK_JOBS_MAX),
  after: z.string().exactOptional().describe("Only jobs after this one"),
  dryRun: z.boolean().default(false).describe("Says which jobs it would be, and tells them nothing"),
});

export function jobBulkRoutes(jobs: Jobs): readonly Route[] {
  return [{
    method: "POST",
    path: "/v1/jobs/bulk",
    summary: "Cancels all jobs of a filter, or sends them a signal: a page of them at a time, each on its own",
    body: bulkSchema,
    answer: "{ told, ended, failed: [{ job, code, message }], jobs, more, next? }: with more, ask again with " +
      "after: next",
    handle: async (request) => {
      const bulk = parseBulk(await request.readJson());
      return jsonResponse(200, await tellMany(jobs, bulk, ANYBODY, { signal: request.signal() }));
    },
  }];
}

function parseBulk(body: unknown): BulkRequest {
  const { action, limit, after, dryRun, parent, ...rest } =
    parseInput(bulkSchema, body, "what is to be told to many jobs");
  const filter = { ...rest, ...(parent === undefined ? {} : { parent: parseJobId(parent) }) };
  if (Object.keys(filter).length === 0) {
    throw new AetherError("E_INVALID", "nothing was told: say which jobs are meant, by agent, status, parent or " +
      "attributes");
  }
  const from = after === undefined ? {} : { after: parseJobId(after) };
  return { action, filter, limit, ...from, isDryRun: dryRun };
}
