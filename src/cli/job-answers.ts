// Owns: jobs as a node's API tells of them, and the short texts about them that several commands print.
import { z } from "zod";

export const JOBS = "/v1/jobs";

const errorSchema = z.object({ name: z.string(), message: z.string(), code: z.string().optional() });
const blobSchema = z.object({ digest: z.string(), bytes: z.number() });
const resultSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("completed"), output: z.unknown(), blob: blobSchema.optional() }),
  z.object({ kind: z.literal("failed"), error: errorSchema }),
  z.object({ kind: z.literal("cancelled") }),
]);
const amountsSchema = z.object({
  usd: z.number().optional(), tokens: z.number().optional(), steps: z.number().optional(),
});
const accountSchema = z.object({ limit: amountsSchema, reserved: amountsSchema, spent: amountsSchema });
const toolSchema = z.object({
  effectId: z.string(),
  call: z.string(),
  tool: z.string(),
  effect: z.string(),
  state: z.string(),
  attempt: z.number(),
  externalId: z.string().optional(),
  reason: z.string().optional(),
  cost: amountsSchema.optional(),
});
export const approvalSchema = z.object({
  job: z.string(),
  approval: z.string(),
  agent: z.string(),
  name: z.string(),
  summary: z.string(),
  data: z.unknown(),
  shown: z.string(),
  tool: z.string().optional(),
  requestedMs: z.number(),
  untilMs: z.number().optional(),
});
export const listedJobSchema = z.object({
  job: z.string(),
  agent: z.string(),
  status: z.string(),
  waiting: z.object({
    reason: z.string(), on: z.array(z.string()), untilMs: z.number().optional(), why: z.string().optional(),
  }).optional(),
  owner: z.string().optional(),
  epoch: z.number(),
  queueClass: z.string(),
  priority: z.number(),
  attributes: z.record(z.string(), z.string()),
  createdMs: z.number(),
  sinceMs: z.number(),
  parent: z.string().optional(),
  collectedMs: z.number().optional(),
});
const eventSchema = z.object({
  run: z.number(),
  seq: z.number(),
  type: z.string(),
  atMs: z.number(),
  epoch: z.number(),
  data: z.record(z.string(), z.unknown()),
  link: z.string(),
});

export const startedSchema = z.object({ job: z.string(), status: z.string(), isNew: z.boolean() });
export const jobListSchema = z.object({
  jobs: z.array(listedJobSchema),
  more: z.boolean(),
  next: z.string().optional(),
});
export const jobSchema = listedJobSchema.extend({
  input: z.unknown(),
  artifact: z.string().optional(),
  inputBlob: blobSchema.optional(),
  pending: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  deadlineMs: z.number().optional(),
  budget: accountSchema.optional(),
  events: z.number(),
  run: z.number().optional(),
  isLogHalfFull: z.boolean().optional(),
  steps: z.number(),
  tools: z.array(toolSchema),
  parentCall: z.string().optional(),
  children: z.array(z.object({ job: z.string(), agent: z.string(), status: z.string() })).default([]),
  approvals: z.array(approvalSchema).optional(),
  result: resultSchema.optional(),
  untold: z.object({
    count: z.number(),
    last: z.array(z.object({
      hook: z.string(), event: z.string(), seq: z.number(), atMs: z.number(), reason: z.string(),
    })),
  }).optional(),
});
export const eventsSchema = z.object({ events: z.array(eventSchema), more: z.boolean() });
export const resultAnswerSchema = z.object({ job: z.string(), result: resultSchema.optional() });

export type ListedJob = z.output<typeof listedJobSchema>;
export type ShownJob = z.output<typeof jobSchema>;
export type ShownApproval = z.output<typeof approvalSchema>;
export type ShownTool = z.output<typeof toolSchema>;
export type ShownEvent = z.output<typeof eventSchema>;
export type ShownAmounts = z.output<typeof amountsSchema>;
export type ShownResult = z.output<typeof resultSchema>;

/** A payload, or what it is known by where it is stored apart. */
export function payloadText(value: unknown, blob: unknown): string {
  const apart = blobSchema.safeParse(blob);
  if (!apart.success) return JSON.stringify(value ?? null);
  return `${apart.data.bytes} bytes, sha-256 ${apart.data.digest}`;
}

/** Status with what a person wants to know besides: where it runs, what it waits for. */
export function statusText({ status, waiting, owner }: ListedJob): string {
  if (owner !== undefined) return `${status} on ${owner}`;
  if (waiting === undefined) return status;
  const until = waiting.untilMs === undefined ? "" : ` until ${new Date(waiting.untilMs).toISOString()}`;
  const why = waiting.why === undefined ? "" : `: ${waiting.why}`;
  return `${status}: ${waiting.reason}${waiting.on.length === 0 ? "" : ` (${waiting.on.join(", ")})`}${until}${why}`;
}

/** The class with the priority, if it has one. */
export function queueText({ queueClass, priority }: ListedJob): string {
  return priority === 0 ? queueClass : `${queueClass}, priority ${priority}`;
}

/** How a job ended. */
export function resultLine(result: ShownResult): string {
  switch (result.kind) {
    case "completed":
      return `completed: ${payloadText(result.output, result.blob)}`;
    case "failed":
      return `failed: ${errorLine(result.error)}`;
    case "cancelled":
      return "was cancelled";
  }
}

export function errorLine({ name, message, code }: z.output<typeof errorSchema>): string {
  return `${code ?? name}: ${message}`;
}
