// Owns: the page of all jobs: what runs, what waits, what has failed; and starting one.
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { ask, segment } from "../api.ts";
import type { JobAnswer, JobStatus } from "../answers.ts";
import { countText, durationText, plural } from "../core/format.ts";
import { jobTone } from "../core/quorum.ts";
import { useStore } from "../live/store.ts";
import { useAnswer } from "../live/use-answer.ts";
import { hrefOf, open, replacePlace } from "../route.ts";
import { useSession } from "../session.tsx";
import { jsonOf, type Asking } from "../ui/dialog.tsx";
import { Failure } from "../ui/failure.tsx";
import { Ago, Badge, Button, Card, Dot, Empty, Loading, PageHead } from "../ui/parts.tsx";
import { Search } from "../ui/search.tsx";
import { VirtualList } from "../ui/virtual-list.tsx";

const STATUSES: readonly JobStatus[] = ["running", "waiting", "pending", "failed", "completed", "cancelled"];
const ROW_PX = 52;

export function JobsPage({ filters }: { readonly filters: Readonly<Record<string, string>> }): JSX.Element {
  const { jobs: book, asking } = useSession();
  useEffect(() => book.watch(), [book]);
  const { jobs, isComplete, isLoaded, failure } = useStore(book.shown);
  const { status = "", text = "" } = filters;
  const counts = useMemo(() => countsOf(jobs), [jobs]);
  const found = useMemo(() => {
    const wanted = text.toLowerCase();
    return jobs.filter((job) => isFound(job, status, wanted));
  }, [jobs, status, text]);
  const agents = useAgents(jobs);
  const go = (change: Readonly<Record<string, string>>): void =>
    replacePlace(hrefOf(["jobs"], { ...filters, ...change }));
  const note = `${plural(jobs.length, "job")}${isComplete ? "" : ", the first by id"}`;
  return (
    <div class="page fills">
      <PageHead title="Jobs" note={isLoaded ? note : " "}>
        <Button kind="main" onPress={() => askStart(asking, agents)}>Start a job</Button>
      </PageHead>
      <div class="filters">
        <Search value={text} label="Find by id, agent or attribute" onValue={(value) => go({ text: value })} />
      </div>
      <div class="filters chips">
        <button type="button" class="chip" aria-pressed={status === ""} onClick={() => go({ status: "" })}>
          All <b>{countText(jobs.length)}</b></button>
        {STATUSES.map((name) => (
          <button key={name} type="button" class="chip" aria-pressed={status === name}
            onClick={() => go({ status: status === name ? "" : name })}>
            <Dot tone={jobTone(name)} />{name} <b>{countText(counts.get(name) ?? 0)}</b></button>
        ))}
      </div>
      {failure !== undefined && <Failure failure={failure} />}
      {(isLoaded || failure === undefined) && <Card class="fills-card">
        {!isLoaded && <Loading rows={8} />}
        {isLoaded && found.length === 0 && <NoJobs isEmpty={jobs.length === 0} />}
        {found.length > 0 && (
          <VirtualList items={found} rowPx={ROW_PX} order="kept" label="Jobs" keyOf={({ job }) => job}
            hrefOf={({ job }) => hrefOf(["jobs", job])}>
            {(job) => <JobLine job={job} />}
          </VirtualList>
        )}
      </Card>}
    </div>
  );
}

function NoJobs({ isEmpty }: { readonly isEmpty: boolean }): JSX.Element {
  return isEmpty
    ? <Empty title="No jobs yet">A job is one run of an agent. Apply a blueprint with agents, then start one here, or
        with <code>aether job start</code>.</Empty>
    : <Empty title="No job is like that">Take a filter away to see more.</Empty>;
}

export function JobLine({ job }: { readonly job: JobAnswer }): JSX.Element {
  const attributes = Object.entries(job.attributes).map(([name, value]) => `${name}=${value}`);
  return (
    <div class="row job-row">
      <span class="status"><JobBadge job={job} /></span>
      <span class="name cut" title={`${job.agent} ${job.job}`}>
        <strong>{job.agent}</strong> <span class="mono muted">{job.job}</span></span>
      <span class="wide cut muted" title={attributes.join(", ")}>
        {attributes.length === 0 ? job.owner !== undefined && `on ${job.owner}`
          : attributes.map((text) => <span class="tag" key={text}>{text}</span>)}
      </span>
      <span class="note-cell wide right muted" title="from start to end">
        {isOver(job) ? durationText(job.sinceMs - job.createdMs) : ""}</span>
      <span class="age right muted"><Ago atMs={job.createdMs} /></span>
    </div>
  );
}

export function JobBadge({ job }: { readonly job: Pick<JobAnswer, "status" | "waiting"> }): JSX.Element {
  const reason = job.waiting?.reason;
  return <Badge tone={jobTone(job.status, reason)}>{reason === undefined ? job.status : `waits: ${reason}`}</Badge>;
}

export function isOver({ status }: Pick<JobAnswer, "status">): boolean {
  return status === "completed" || status === "failed" || status === "cancelled";
}

function countsOf(jobs: readonly JobAnswer[]): ReadonlyMap<JobStatus, number> {
  const counts = new Map<JobStatus, number>();
  for (const { status } of jobs) counts.set(status, (counts.get(status) ?? 0) + 1);
  return counts;
}

/** `wanted` is in lower case. */
function isFound(job: JobAnswer, status: string, wanted: string): boolean {
  if (status !== "" && job.status !== status) return false;
  const has = (text: string): boolean => text.toLowerCase().includes(wanted);
  return wanted === "" || has(job.job) || has(job.agent) || has(job.waiting?.reason ?? "") ||
    Object.entries(job.attributes).some(([name, value]) => has(`${name}=${value}`));
}

interface ArtifactsAnswer {
  readonly artifacts: readonly { readonly manifest?: { readonly agents?: Readonly<Record<string, unknown>> } }[];
}

/** Those that packages have, and those of which there are jobs. */
function useAgents(jobs: readonly JobAnswer[]): readonly string[] {
  const { data } = useAnswer<ArtifactsAnswer>("/v1/artifacts", "once");
  return useMemo(() => {
    const packed = data?.artifacts.flatMap(({ manifest }) => Object.keys(manifest?.agents ?? {})) ?? [];
    return [...new Set([...packed, ...jobs.map(({ agent }) => agent)])].sort();
  }, [data, jobs]);
}

function askStart(asking: Asking, agents: readonly string[]): void {
  asking.ask({
    title: "Start a job",
    text: "It runs until it has ended, whatever becomes of the node that runs it.",
    fields: [
      { name: "agent", label: "Agent", kind: "text", choices: agents, value: agents.length === 1 ? agents.join() : "" },
      { name: "input", label: "Input", kind: "json", value: "{}" },
      { name: "id", label: "Id", kind: "text", isOptional: true, hint: "Without one it gets an id of its own" },
    ],
    action: "Start",
    again: "once",
    run: async ({ agent = "", input, id = "" }, key) => {
      const body = { agent, input: jsonOf(input), ...(id === "" ? {} : { id }) };
      const { job } = await ask<{ readonly job: string }>("/v1/jobs", { method: "POST", body, key });
      open(hrefOf(["jobs", job]));
      return `Started ${job}`;
    },
  });
}

export function jobPath(job: string, more = ""): string {
  return `/v1/jobs/${segment(job)}${more}`;
}
