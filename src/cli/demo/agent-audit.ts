// Owns: the comparison at the end of the agents' demo: every job with its log, and every page of the payment service's
// books, put beside each other and beside what the person said.
import { z } from "zod";
import { eventsSchema, JOBS, jobSchema, type ShownEvent, type ShownJob } from "../job-answers.ts";
import type { AgentApi } from "./agent-api.ts";
import type { Books } from "./agent-payments.ts";
import type { Decisions } from "./agent-person.ts";
import type { AgentFindings, CallFound, CustomerFound, JobFound, Resolved } from "./agent-verdict.ts";
import { jobOf, LARGE_CENTS } from "./agent-work.ts";

const PAGE = 1_000;

const outputSchema = z.object({ refund: z.string().optional() });
const resolvedSchema = z.object({
  effectId: z.string(),
  by: z.object({ kind: z.enum(["reconcile", "person", "late"]) }),
  resolution: z.object({ kind: z.enum(["done", "not-done", "given-up"]) }),
});
const decidedSchema = z.object({ approved: z.boolean() });
const inputSchema = z.object({ cents: z.number() });
const effectSchema = z.object({ effectId: z.string() });

export type Audit = Pick<
  AgentFindings, "customers" | "children" | "calls" | "strangers" | "unknowns" | "remade" | "resolved"
>;

/** What everything is compared with. */
interface Evidence {
  readonly books: Books;
  readonly decisions: Decisions;
}

interface Audited {
  readonly shown: ShownJob;
  readonly calls: readonly CallFound[];
  readonly events: readonly ShownEvent[];
}

export async function auditJobs(api: AgentApi, books: Books, decisions: Decisions): Promise<Audit> {
  const audited: Audited[] = [];
  for (const { job } of await api.jobs()) audited.push(await readJob(api, books, job));
  const events = audited.flatMap((found) => found.events);
  const calls = audited.flatMap((found) => found.calls);
  const inDoubt = events.filter(({ type }) => type === "tool.unknown");
  const unknowns = inDoubt.filter(({ data }) => calls.some(({ effectId }) => isOf(data, effectId))).length;
  const known = new Set(audited.flatMap(({ shown }) => shown.tools.map(({ effectId }) => effectId)));
  return {
    customers: audited.filter(({ shown }) => shown.parent === undefined)
      .map((found) => customerFound(found, { books, decisions })),
    children: audited.filter(({ shown }) => shown.parent !== undefined).map(({ shown }) => jobFound(shown)),
    calls,
    strangers: [...books.refunds, ...books.notices].map(({ key }) => key).filter((key) => !known.has(key)),
    unknowns,
    remade: inDoubt.length - unknowns,
    resolved: countResolved(events),
  };
}

async function readJob(api: AgentApi, books: Books, job: string): Promise<Audited> {
  const shown = await api.ask(jobSchema, `${JOBS}/${job}`);
  const { events } = await api.ask(eventsSchema, `${JOBS}/${job}/events?limit=${PAGE}`);
  const once = shown.tools.filter(({ effect }) => effect === "once");
  return {
    shown,
    calls: once.map(({ effectId }) => {
      const page = books.refunds.find(({ key }) => key === effectId);
      return {
        job, effectId,
        requests: page?.requests ?? 0,
        payments: page?.refunds.length ?? 0,
        saidNotDone: events.filter((event) => saysNotDone(event, effectId)).length,
      };
    }),
    events,
  };
}

function jobFound({ job, status, waiting, parent }: ShownJob): JobFound {
  return {
    job, status,
    ...(waiting === undefined ? {} : { waiting: waiting.reason }),
    ...(parent === undefined ? {} : { parent }),
  };
}

function customerFound({ shown, calls, events }: Audited, { books, decisions }: Evidence): CustomerFound {
  const { job, input, result } = shown;
  const refund = result?.kind === "completed" ? outputSchema.parse(result.output).refund : undefined;
  const keys = calls.map(({ effectId }) => effectId);
  const booked = books.refunds.filter(({ key }) => keys.includes(key)).flatMap(({ refunds }) => refunds)[0];
  const decided = events.find(({ type }) => type === "approval.decided");
  const said = decisions.get(job);
  return {
    ...jobFound(shown),
    isLarge: inputSchema.parse(input).cents >= LARGE_CENTS,
    notices: books.notices.filter(({ order }) => jobOf(order) === job).length,
    ...(refund === undefined ? {} : { refund }),
    ...(booked === undefined ? {} : { booked }),
    ...(decided === undefined ? {} : { approved: decidedSchema.parse(decided.data).approved }),
    ...(said === undefined ? {} : { said }),
  };
}

/** The tool itself, its reconcile or a person. */
function saysNotDone({ type, data }: ShownEvent, effectId: string): boolean {
  if (!isOf(data, effectId)) return false;
  if (type === "tool.failed") return true;
  return type === "tool.resolved" && resolvedSchema.parse(data).resolution.kind === "not-done";
}

function isOf(data: ShownEvent["data"], effectId: string): boolean {
  return effectSchema.safeParse(data).data?.effectId === effectId;
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
