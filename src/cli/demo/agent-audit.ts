// Owns: the comparison at the end of the agents' demo: every job with its log, and every page of the payment service's
// books, put beside each other.
import { z } from "zod";
import { eventsSchema, jobListSchema, JOBS, jobSchema, type ShownEvent } from "../job-answers.ts";
import type { AgentApi } from "./agent-api.ts";
import type { Books } from "./agent-payments.ts";
import type { AgentFindings, CallFound, JobFound, Resolved } from "./agent-verdict.ts";

const PAGE = 1_000;

const outputSchema = z.object({ refund: z.string().optional() });
const resolvedSchema = z.object({
  effectId: z.string(),
  by: z.object({ kind: z.enum(["reconcile", "person", "late"]) }),
  resolution: z.object({ kind: z.enum(["done", "not-done", "given-up"]) }),
});
const effectSchema = z.object({ effectId: z.string() });

export type Audit = Pick<AgentFindings, "jobs" | "calls" | "strangers" | "unknowns" | "resolved">;

interface Audited {
  readonly job: JobFound;
  readonly calls: readonly CallFound[];
  readonly events: readonly ShownEvent[];
}

export async function auditJobs(api: AgentApi, books: Books): Promise<Audit> {
  const { jobs } = await api.ask(jobListSchema, `${JOBS}?limit=${PAGE}`);
  const audited: Audited[] = [];
  for (const { job } of jobs) audited.push(await auditJob(api, books, job));
  const events = audited.flatMap((found) => found.events);
  const calls = audited.flatMap((found) => found.calls);
  const known = new Set(calls.map(({ effectId }) => effectId));
  return {
    jobs: audited.map(({ job }) => job),
    calls,
    strangers: books.refunds.map(({ key }) => key).filter((key) => !known.has(key)),
    unknowns: events.filter(({ type }) => type === "tool.unknown").length,
    resolved: countResolved(events),
  };
}

async function auditJob(api: AgentApi, books: Books, job: string): Promise<Audited> {
  const { status, waiting, tools, result } = await api.ask(jobSchema, `${JOBS}/${job}`);
  const { events } = await api.ask(eventsSchema, `${JOBS}/${job}/events?limit=${PAGE}`);
  const once = tools.filter(({ effect }) => effect === "once");
  const pages = once.map(({ effectId }) => books.refunds.find(({ key }) => key === effectId));
  const refund = result?.kind === "completed" ? outputSchema.parse(result.output).refund : undefined;
  const booked = pages.flatMap((page) => page?.refunds ?? [])[0];
  return {
    job: {
      job, status,
      ...(waiting === undefined ? {} : { waiting: waiting.reason }),
      ...(refund === undefined ? {} : { refund }),
      ...(booked === undefined ? {} : { booked }),
    },
    calls: once.map(({ effectId }, at) => ({
      job, effectId,
      requests: pages[at]?.requests ?? 0,
      payments: pages[at]?.refunds.length ?? 0,
      saidNotDone: events.filter((event) => saysNotDone(event, effectId)).length,
    })),
    events,
  };
}

/** The tool itself, its reconcile or a person. */
function saysNotDone({ type, data }: ShownEvent, effectId: string): boolean {
  if (effectSchema.safeParse(data).data?.effectId !== effectId) return false;
  if (type === "tool.failed") return true;
  return type === "tool.resolved" && resolvedSchema.parse(data).resolution.kind === "not-done";
}

function countResolved(events: readonly ShownEvent[]): Resolved {
  const all = events.filter(({ type }) => type === "tool.resolved").map(({ data }) => resolvedSchema.parse(data));
  const count = (by: string, kind: string): number =>
    all.filter((found) => found.by.kind === by && found.resolution.kind === kind).length;
  return {
    reconcileDone: count("reconcile", "done"),
    reconcileNotDone: count("reconcile", "not-done"),
    personDone: count("person", "done"),
    personNotDone: count("person", "not-done"),
    late: all.filter(({ by }) => by.kind === "late").length,
  };
}
