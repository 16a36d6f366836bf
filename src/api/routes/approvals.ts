// Owns: what people are asked by jobs over HTTP: the list of it, and their decisions.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseJobId } from "../../base/ids.ts";
import { digestSchema } from "../../base/stored-row.ts";
import { CALL_NAME_LENGTH_MAX } from "../../jobs/core/worker/call-names.ts";
import { JOBS_PAGE_MAX } from "../../jobs/limits.ts";
import type { Jobs } from "../../jobs/ports.ts";
import { ANYBODY } from "../caller.ts";
import { consistencySchema } from "../consistency.ts";
import { idempotencyKey } from "../idempotency-key.ts";
import { approvalJson } from "../job-json.ts";
import { jsonResponse } from "../json.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";

const LIST_DEFAULT = 100;

const listQuery = z.strictObject({
  job: z.string().exactOptional().describe("Only those of this job"),
  limit: z.coerce.number().int().min(1).max(JOBS_PAGE_MAX).default(LIST_DEFAULT),
  after: z.string().exactOptional().describe("Where to go on: `next` of the answer before"),
  consistency: consistencySchema,
});
// Who decides is said by credentials, never by the body.
const decisionSchema = z.strictObject({
  approved: z.boolean(),
  data: z.unknown().default(null).describe("What the job is told with it"),
  shown: digestSchema.exactOptional().describe("Digest of what was decided about: another one is refused"),
});

const KEY_HEADER = { "Idempotency-Key": "The same key again is the same decision" };

export function approvalRoutes(jobs: Pick<Jobs, "approvals" | "decide">): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/approvals",
      summary: "What jobs wait for people to decide, in the order of the jobs' ids",
      query: listQuery,
      answer: "{ approvals: [{ job, approval, agent, name, summary, data, shown, tool?, requestedMs, untilMs? }], " +
        "more, next? }",
      handle: async (request) => {
        const { job, consistency, ...query } = request.query(listQuery);
        const ofJob = job === undefined ? {} : { job: parseJobId(job) };
        const options = { signal: request.signal(), consistency };
        const { approvals, ...rest } = await jobs.approvals({ ...query, ...ofJob }, options);
        return jsonResponse(200, { approvals: approvals.map(approvalJson), ...rest });
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/approvals/:approval",
      summary: "Approves or rejects what a job asks; the first decision counts. By its name, or as the list has it " +
        "where the job asks several of one name",
      body: decisionSchema,
      headers: KEY_HEADER,
      answer: "202 { job, approval, approved }",
      handle: async (request) => {
        const job = parseJobId(request.param("job"));
        const approval = request.param("approval");
        if (approval.length > CALL_NAME_LENGTH_MAX) {
          throw new AetherError("E_INVALID", `the name of an approval has at most ${CALL_NAME_LENGTH_MAX} characters`);
        }
        const decision = parseInput(decisionSchema, await request.readJson(), "the decision");
        const told = { approval, ...decision, ...idempotencyKey(request) };
        const decided = await jobs.decide(job, told, ANYBODY, { signal: request.signal() });
        return jsonResponse(202, { job: decided.job, approval: decided.call, approved: decided.approved });
      },
    },
  ];
}
