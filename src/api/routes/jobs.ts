// Owns: /v1/jobs: starting jobs, looking at them, and telling them something.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseDigest, parseJobId, type JobId } from "../../base/ids.ts";
import { CALL_NAME_LENGTH_MAX } from "../../jobs/core/worker/call-names.ts";
import { QUEUE_CLASSES } from "../../jobs/core/rows.ts";
import type { Resolution } from "../../jobs/core/log/event.ts";
import {
  JOB_ATTRIBUTE_CHARACTERS_MAX, JOB_ATTRIBUTES_MAX, JOB_LABELS_MAX, JOB_PRIORITY_MAX, JOBS_PAGE_MAX,
  RESULT_WAIT_MS_MAX,
} from "../../jobs/limits.ts";
import type { JobPageQuery, Jobs, RepeatJob, StartJob } from "../../jobs/ports.ts";
import type { Consistency } from "../../kvstore/kv.ts";
import { amountOf } from "../../jobs/core/budget/amounts.ts";
import { labelsSchema } from "../../sdk/blueprint.ts";
import { budgetSchema } from "../../sdk/budget.ts";
import { parseDuration, type Duration } from "../../sdk/duration.ts";
import { nameSchema } from "../../sdk/name.ts";
import type { ApiRequest } from "../api-request.ts";
import { ANYBODY } from "../caller.ts";
import { consistencySchema, readQuery } from "../consistency.ts";
import { idempotencyKey } from "../idempotency-key.ts";
import { jobFilterFields, jobFilterOf, jobPageFields, jobPlaceOf } from "../job-filter.ts";
import { eventJson, listedJson, shownJson } from "../job-json.ts";
import { jsonResponse } from "../json.ts";
import { JOB_BODY_BYTES_MAX, REASON_LENGTH_MAX } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";

const JSON_TYPE = "application/json; charset=utf-8";
const LIST_DEFAULT = 100;
const EVENTS_DEFAULT = 500;
/** Calls that one request names. */
const AGAIN_MAX = 1_000;

const attributeName = z.string().regex(/^[A-Za-z][A-Za-z0-9._-]{0,63}$/, {
  error: 'the name of an attribute starts with a letter and has at most 64 of letters, digits, ".", "_" and "-"',
});
const attributeValue = z.string().max(JOB_ATTRIBUTE_CHARACTERS_MAX);
const attributes = z.record(attributeName, attributeValue)
  .refine((all) => Object.keys(all).length <= JOB_ATTRIBUTES_MAX, `at most ${JOB_ATTRIBUTES_MAX} attributes`);

const startSchema = z.strictObject({
  agent: nameSchema,
  input: z.unknown().optional(),
  id: z.string().exactOptional(),
  attributes: attributes.exactOptional(),
  queueClass: z.enum(QUEUE_CLASSES).exactOptional(),
  labels: labelsSchema.refine((all) => Object.keys(all).length <= JOB_LABELS_MAX, `at most ${JOB_LABELS_MAX} labels`)
    .exactOptional().describe("Only a node that has all of them runs it"),
  priority: z.int().min(-JOB_PRIORITY_MAX).max(JOB_PRIORITY_MAX).exactOptional()
    .describe("Among the jobs of its tenant and class: higher goes first"),
  maxDuration: z.union([z.string(), z.number()]).exactOptional()
    .describe('From its start on, as "2 hours" or in milliseconds: then it is asked to end, and has failed'),
  budget: budgetSchema.exactOptional().describe("What it may spend; of what is left out as much as its agent says"),
});
const listQuery = z.strictObject({
  ...jobFilterFields,
  ...jobPageFields,
  order: z.enum(["newest", "oldest"]).default("newest").describe("Which come first"),
  attribute: z.string().exactOptional().describe("NAME=VALUE; several of them all have to hold"),
  limit: z.coerce.number().int().min(1).max(JOBS_PAGE_MAX).default(LIST_DEFAULT),
  consistency: consistencySchema,
});
const eventsQuery = z.strictObject({
  after: z.coerce.number().int().min(0).default(0).describe("Only events after this number"),
  limit: z.coerce.number().int().min(1).max(JOBS_PAGE_MAX).default(EVENTS_DEFAULT),
  run: z.coerce.number().int().min(1).exactOptional().describe("Of this run; default: the latest one"),
  consistency: consistencySchema,
});
const resultQuery = z.strictObject({ waitMs: z.coerce.number().int().min(0).max(RESULT_WAIT_MS_MAX).default(0) });
export const resolutionSchema: z.ZodType<Resolution> = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("done"), result: z.unknown().default(null) }),
  z.strictObject({ kind: z.literal("not-done") }),
  z.strictObject({ kind: z.literal("given-up"), reason: z.string().min(1).max(REASON_LENGTH_MAX) }),
]);

const raiseSchema = z.strictObject({ add: budgetSchema });

const TRACE_HEADER = { traceparent: "W3C trace context, which the spans of the job belong to" };
const KEY_HEADER = { "Idempotency-Key": "The same key again, from whoever starts jobs of this agent, is the same job" };
const SIGNAL_KEY_HEADER = { "Idempotency-Key": "The same key again is the same signal" };

export const repeatFields = {
  code: z.enum(["same", "current"]).exactOptional(),
  again: z.array(z.string().max(CALL_NAME_LENGTH_MAX)).max(AGAIN_MAX).exactOptional(),
};
const retrySchema = z.strictObject({ id: z.string().exactOptional(), ...repeatFields });
const forkSchema = retrySchema.extend({ at: z.string(), input: z.unknown().optional() });

export function jobRoutes(jobs: Jobs): readonly Route[] {
  const repeat = async (request: ApiRequest, what: RepeatJob): Promise<Response> => {
    const started = await jobs.repeat(jobOf(request), { ...what, ...traceOf(request) }, ANYBODY, callOptions(request));
    return jsonResponse(started.isNew ? 201 : 200, started);
  };
  return [
    {
      method: "POST",
      path: "/v1/jobs",
      summary: "Starts a job of an agent; 201 for a new one, 200 when the key or the id was used for the same before",
      body: startSchema,
      headers: { ...KEY_HEADER, ...TRACE_HEADER },
      answer: "{ job, status, isNew }",
      handle: async (request) => {
        const start = parseStart(await request.readJson(JOB_BODY_BYTES_MAX), idempotencyKey(request));
        const started = await jobs.start({ ...start, ...traceOf(request) }, ANYBODY, callOptions(request));
        return jsonResponse(started.isNew ? 201 : 200, started);
      },
    },
    {
      method: "GET",
      path: "/v1/jobs",
      summary: "Jobs, the newest first, by their ids: these begin with the time of the start unless they were given",
      query: listQuery,
      answer: "{ jobs: [{ job, agent, tenant, status, waiting?, owner?, epoch, run, queueClass, priority, " +
        "attributes, createdMs, sinceMs, parent? }], more, next?, revision }",
      handle: async (request) => {
        const { query, consistency } = parseListQuery(request);
        const { jobs: found, ...rest } = await jobs.list(query, { ...callOptions(request), consistency });
        return jsonResponse(200, { jobs: found.map(listedJson), ...rest });
      },
    },
    {
      method: "GET",
      path: "/v1/jobs/:job",
      summary: "One job, with its input, the calls of its tools, and its result when it has ended; of what " +
        "is above 64 KiB size and digest stand in `blob`",
      answer: "as in the list, and { pending?, labels?, maxDurationMs?, deadlineMs?, budget?, pin, artifact?, uid, " +
        "input, inputBlob?, inputDigest, events, logBytes, isLogHalfFull, link, steps, tools, " +
        "parentCall?, isDetached?, children: [{ job, agent, status }], approvals?, result?, untold? }",
      query: readQuery,
      expectsMisses: true,
      handle: async (request) => {
        const options = { ...callOptions(request), ...request.query(readQuery) };
        return jsonResponse(200, shownJson(await jobs.show(jobOf(request), options)));
      },
    },
    {
      method: "GET",
      path: "/v1/jobs/:job/events",
      summary: "What has happened in a job, in order",
      query: eventsQuery,
      answer: "{ events: [{ run, seq, type, atMs, epoch, data, link }], more }",
      handle: async (request) => {
        const { after: afterSeq, consistency, ...query } = request.query(eventsQuery);
        const options = { ...callOptions(request), consistency };
        const found = await jobs.events(jobOf(request), { afterSeq, ...query }, options);
        return jsonResponse(200, { events: found.events.map(eventJson), more: found.more });
      },
    },
    {
      method: "GET",
      path: "/v1/jobs/:job/result",
      summary: "The result of a job; waits for it as long as it is told to",
      query: resultQuery,
      answer: "{ job, result: { kind: completed, output } | { kind: failed, error } | { kind: cancelled } }; " +
        "202 with { job } when it has not ended by then",
      handle: async (request) => {
        const job = jobOf(request);
        const result = await jobs.result(job, request.query(resultQuery).waitMs, callOptions(request));
        if (result === undefined) return jsonResponse(202, { job });
        const blob = result.kind === "completed" ? result.blob : undefined;
        return blob === undefined
          ? jsonResponse(200, { job, result })
          : textResponse(largeOutput(job, await jobs.payloadText(blob, callOptions(request))), JSON_TYPE);
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/export",
      summary: "The job as of one revision, with the bytes of its events and rows; `aether job verify` checks it",
      answer: "application/x-ndjson: lines of JSON, the last one of kind end",
      handle: async (request) => textResponse(await jobs.export(jobOf(request), callOptions(request))),
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/signals/:name",
      summary: "Sends a job a signal; it is kept until the job waits for one of this name",
      body: "any JSON",
      headers: SIGNAL_KEY_HEADER,
      answer: "202 { job, signal }",
      handle: async (request) => {
        const job = jobOf(request);
        const name = parseInput(nameSchema, request.param("name"), "the name of the signal");
        const payload = (await request.readOptionalJson(JOB_BODY_BYTES_MAX)) ?? null;
        const signal = { name, payload, ...idempotencyKey(request) };
        await jobs.signal(job, signal, ANYBODY, callOptions(request));
        return jsonResponse(202, { job, signal: name });
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/cancel",
      summary: "Asks a job to end; its code may still tidy up, and what became of a call is found out first",
      answer: "202 { job }",
      handle: async (request) => {
        const job = jobOf(request);
        await jobs.cancel(job, ANYBODY, callOptions(request));
        return jsonResponse(202, { job });
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/retry",
      summary: "A new job that does one again which failed or was cancelled, from there on; effect ids stay the same",
      body: retrySchema,
      headers: TRACE_HEADER,
      answer: "201 { job, status, isNew }; 200 when the id was used for this before",
      handle: async (request) => {
        const { id, ...retry } = parseInput(retrySchema, (await request.readOptionalJson()) ?? {}, "the retry");
        return await repeat(request, { what: { kind: "retry" }, ...retry, ...jobIdOf(id) });
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/fork",
      summary: "A new job that does one again which has ended, from before a call on; effect ids stay the same",
      body: forkSchema,
      headers: TRACE_HEADER,
      answer: "201 { job, status, isNew }; 200 when the id was used for this before",
      handle: async (request) => {
        const body = await request.readJson(JOB_BODY_BYTES_MAX);
        const { id, at, input, ...fork } = parseInput(forkSchema, body, "the fork");
        const what = { kind: "fork", at, ...(input === undefined ? {} : { input }) } as const;
        return await repeat(request, { what, ...fork, ...jobIdOf(id) });
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/release",
      summary: "Lets a job go on that is held because its cluster began from a backup",
      answer: "202 { job }",
      handle: async (request) => {
        const job = jobOf(request);
        await jobs.release(job, ANYBODY, callOptions(request));
        return jsonResponse(202, { job });
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/budget",
      summary: "Lets a job spend more; one that waits for its budget goes on",
      body: raiseSchema,
      headers: { "Idempotency-Key": "The same key again is the same raise" },
      answer: "202 { job }",
      handle: async (request) => {
        const job = jobOf(request);
        const { add } = parseInput(raiseSchema, await request.readJson(), "the raise");
        const raise = { add: amountOf(add) ?? {}, ...idempotencyKey(request) };
        await jobs.raise(job, raise, ANYBODY, callOptions(request));
        return jsonResponse(202, { job });
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/tools/:effect/resolve",
      summary: "Says what became of a call of a tool that nobody knows about",
      body: resolutionSchema,
      answer: "202 { job, effect, resolution }",
      handle: async (request) => {
        const job = jobOf(request);
        const effect = parseDigest(request.param("effect"));
        const resolution = parseInput(resolutionSchema, await request.readJson(), "the resolution");
        await jobs.resolve(job, effect, resolution, ANYBODY, callOptions(request));
        return jsonResponse(202, { job, effect, resolution: resolution.kind });
      },
    },
  ];
}

/** As any result, a piece of text after the other. */
async function* largeOutput(job: JobId, output: AsyncIterable<string>): AsyncGenerator<string> {
  let text = `{"job":${JSON.stringify(job)},"result":{"kind":"completed","output":`;
  for await (const piece of output) {
    yield text + piece;
    text = "";
  }
  yield `${text}}}`;
}

/** A throw on the way breaks the connection: lines without their last one are no export. */
function textResponse(lines: AsyncIterable<string>, contentType = "application/x-ndjson"): Response {
  const reading = lines[Symbol.asyncIterator]();
  const body = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const next = await reading.next();
      if (next.done === true) controller.close();
      else controller.enqueue(Buffer.from(next.value));
    },
    cancel: async () => void (await reading.return?.()),
  }, { highWaterMark: 1 });
  return new Response(body, { status: 200, headers: { "content-type": contentType } });
}

function jobIdOf(id: string | undefined): { readonly id?: JobId } {
  return id === undefined ? {} : { id: parseJobId(id) };
}

function parseStart(body: unknown, key: { readonly idempotencyKey?: string }): StartJob {
  const { id, maxDuration, budget, ...start } = parseInput(startSchema, body, "the start of a job");
  return {
    ...start,
    input: start.input ?? null,
    ...(id === undefined ? {} : { id: parseJobId(id) }),
    ...(maxDuration === undefined ? {} : { maxDurationMs: longestOf(maxDuration) }),
    ...(budget === undefined ? {} : { budget: amountOf(budget) ?? {} }),
    ...key,
  };
}

function longestOf(maxDuration: Duration): number {
  const ms = parseDuration(maxDuration);
  if (ms > 0) return ms;
  throw new AetherError("E_INVALID", "the job would have no time: let maxDuration be longer, or leave it out");
}

function parseListQuery(
  request: ApiRequest,
): { readonly query: JobPageQuery; readonly consistency: Consistency } {
  const { after, upTo, limit, order, consistency, attribute: _first, ...sent } = request.query(listQuery);
  const pairs = request.queryPairs().filter(([name]) => name === "attribute").map(([, pair]) => attributePair(pair));
  const wanted = parseInput(attributes, Object.fromEntries(pairs), "the attributes to look for");
  const query = {
    ...jobFilterOf(sent),
    ...jobPlaceOf({ ...(after !== undefined && { after }), ...(upTo !== undefined && { upTo }) }),
    limit,
    order,
    ...(pairs.length === 0 ? {} : { attributes: wanted }),
  };
  return { query, consistency };
}

function attributePair(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new AetherError("E_INVALID", `"${text.slice(0, 100)}" is not an attribute to look for: use NAME=VALUE`);
}

function jobOf(request: ApiRequest): JobId {
  return parseJobId(request.param("job"));
}

/** What the spans of jobs that the request makes belong to. */
export function traceOf(request: ApiRequest): { readonly traceparent?: string } {
  const traceparent = request.traceparent();
  return traceparent === undefined ? {} : { traceparent };
}

function callOptions(request: ApiRequest): { readonly signal: AbortSignal } {
  return { signal: request.signal() };
}
