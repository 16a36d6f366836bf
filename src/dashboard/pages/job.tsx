// Owns: the page of one job: what has happened in it, what it waits for, and what can be done about it.
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { askText } from "../api.ts";
import type { Amounts, JobDetail, ToolAnswer } from "../answers.ts";
import { saveText } from "../browser-adapter.ts";
import { durationText, plural, preview, shortId } from "../core/format.ts";
import { JobLog, type JobShown } from "../live/job-log.ts";
import { useStore } from "../live/store.ts";
import { hrefOf } from "../route.ts";
import { useAsking } from "../ui/dialog.tsx";
import { Failure } from "../ui/failure.tsx";
import { Icon } from "../ui/icons.tsx";
import {
  Ago, Badge, Button, Card, Code, dateText, Empty, Facts, Json, Loading, PageHead,
} from "../ui/parts.tsx";
import { ApprovalAsk } from "./approvals.tsx";
import { askCancel, askRaise, askRelease, askResolve, askRetry, askSignal } from "./job-actions.ts";
import { Timeline } from "./job-timeline.tsx";
import { isOver, JobBadge, jobPath } from "./jobs.tsx";

export function JobPage({ job }: { readonly job: string }): JSX.Element {
  const log = useMemo(() => new JobLog(jobPath(job)), [job]);
  useEffect(() => log.watch(), [log]);
  const shown = useStore(log.shown);
  const { detail, failure } = shown;
  const isNowhere = failure?.code === "E_NOT_FOUND";
  return (
    <div class="page">
      <a class="back" href={hrefOf(["jobs"])}><Icon name="back" size={15} />Jobs</a>
      {detail === undefined
        ? <PageHead title={job} />
        : <PageHead title={<>{detail.agent} <JobBadge job={detail} /></>} note={<Code>{job}</Code>}>
            <Actions detail={detail} refresh={() => log.refresh()} />
          </PageHead>}
      {isNowhere && <Card><Empty title="There is no such job">It never was, or it ended so long ago that nothing is
        kept of it.</Empty></Card>}
      {failure !== undefined && !isNowhere && <Failure failure={failure} />}
      {detail === undefined && failure === undefined && <Card><Loading rows={6} /></Card>}
      {detail !== undefined && <JobBody detail={detail} shown={shown} refresh={() => log.refresh()} />}
    </div>
  );
}

function Actions({ detail, refresh }: { readonly detail: JobDetail; readonly refresh: () => void }): JSX.Element {
  const asking = useAsking();
  const { job, status, waiting } = detail;
  const isHeld = waiting?.reason === "restored" || waiting?.reason === "stuck";
  return (
    <>
      {isHeld && <Button onPress={() => askRelease(asking, job, refresh)}>Let it go on</Button>}
      {waiting?.reason === "budget" && <Button onPress={() => askRaise(asking, detail, refresh)}>Raise budget</Button>}
      {!isOver(detail) && <Button onPress={() => askSignal(asking, job, refresh)}>Signal</Button>}
      {!isOver(detail) && <Button kind="danger" onPress={() => askCancel(asking, job, refresh)}>Cancel</Button>}
      {(status === "failed" || status === "cancelled") &&
        <Button onPress={() => askRetry(asking, job)} isDisabled={detail.repeatedBy !== undefined}>Retry</Button>}
      <Button onPress={() => void exportJob(asking, job)}>Export</Button>
    </>
  );
}

/** The lines that `aether job verify` checks. */
async function exportJob(asking: ReturnType<typeof useAsking>, job: string): Promise<void> {
  try {
    const text = await (await askText(jobPath(job, "/export"), { method: "POST", timeoutMs: EXPORT_MS_MAX })).text();
    saveText(`${job}.jsonl`, text, "application/x-ndjson");
    asking.tell(`Exported ${job}`);
  } catch (error) {
    asking.tell(`Not exported: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const EXPORT_MS_MAX = 60_000;

function JobBody({ detail, shown, refresh }: {
  readonly detail: JobDetail;
  readonly shown: JobShown;
  readonly refresh: () => void;
}): JSX.Element {
  const unknown = detail.tools.filter(({ state }) => state === "unknown");
  const { approvals = [] } = detail;
  return (
    <div class="split">
      <div class="stack">
        {approvals.length > 0 && (
          <Card title="Waits for a decision">
            {approvals.map((approval) =>
              <ApprovalAsk key={approval.approval} approval={approval} onDone={refresh} isOfJob />)}
          </Card>
        )}
        {unknown.length > 0 && <UnknownTools detail={detail} tools={unknown} refresh={refresh} />}
        <Result detail={detail} />
        <Timeline shown={shown} isCollected={detail.collectedMs !== undefined}
          endMs={isOver(detail) ? detail.sinceMs : undefined} />
      </div>
      <div class="stack">
        <JobFacts detail={detail} />
        <Card title="Input"><div class="card-body">
          {detail.inputBlob === undefined
            ? <Json value={detail.input} />
            : <p class="note">Above 64 KiB: {preview(detail.inputBlob)}</p>}
        </div></Card>
        {detail.tools.length > 0 && <Tools tools={detail.tools} />}
        {detail.children.length > 0 && <Children detail={detail} />}
        {shown.progress.length > 0 &&
          <Card title="Progress"><div class="card-body"><Json value={shown.progress} /></div></Card>}
      </div>
    </div>
  );
}

function JobFacts({ detail }: { readonly detail: JobDetail }): JSX.Element {
  const { waiting, budget } = detail;
  return (
    <Card title="Facts">
      <div class="card-body">
        <Facts rows={[
          ["Started", <span key="at">{dateText(detail.createdMs)}, <Ago atMs={detail.createdMs} /></span>],
          ["Took", isOver(detail) ? durationText(detail.sinceMs - detail.createdMs) : undefined],
          ["Runs on", detail.owner],
          ["Waits for", waiting && waitingText(waiting)],
          ["Pending", detail.pending],
          ["Epoch", `${detail.epoch}${detail.run > 1 ? `, run ${detail.run}` : ""}`],
          ["Log", `${plural(detail.events, "event")}, ${plural(detail.steps, "step")}`],
          ["Code", detail.artifact && <Code>{detail.artifact}</Code>],
          ["Budget", budget && `${amountText(budget.spent)} of ${amountText(budget.limit)}`],
          ["Parent", detail.parent && <a href={hrefOf(["jobs", detail.parent])}>{detail.parent}</a>],
          ["Done again", detail.repeatedBy && <a href={hrefOf(["jobs", detail.repeatedBy])}>{detail.repeatedBy}</a>],
          ...Object.entries(detail.attributes),
        ]} />
      </div>
    </Card>
  );
}

function waitingText({ reason, untilMs, why }: NonNullable<JobDetail["waiting"]>): string {
  const until = untilMs === undefined ? "" : ` until ${dateText(untilMs)}`;
  return `${reason}${until}${why === undefined ? "" : `: ${why}`}`;
}

function amountText(amounts: Amounts): string {
  const parts = Object.entries(amounts).map(([unit, value]) => `${String(value)} ${unit}`);
  return parts.length === 0 ? "nothing" : parts.join(", ");
}

function Result({ detail: { result } }: { readonly detail: JobDetail }): JSX.Element | null {
  if (result === undefined || result.kind === "cancelled") return null;
  if (result.kind === "completed") {
    const { output, blob } = result;
    return <Card title="Result"><div class="card-body">
      {blob === undefined ? <Json value={output} /> : <p class="note">Above 64 KiB: {preview(blob)}</p>}
    </div></Card>;
  }
  const { code, message } = result.error;
  return (
    <Card title="Why it failed"><div class="card-body">
      <div class="failure bad" style={{ margin: 0 }}>
        {code !== undefined && <div class="failure-head"><code>{code}</code></div>}
        <p>{message}</p>
      </div>
    </div></Card>
  );
}

const TOOL_TONES = { granted: "busy", succeeded: "good", failed: "bad", unknown: "doubt" } as const;

function Tools({ tools }: { readonly tools: readonly ToolAnswer[] }): JSX.Element {
  return (
    <Card title="Calls of tools">
      <div class="table-wrap"><table>
        <tbody>{tools.map((tool) => (
          <tr key={tool.effectId}>
            <td><strong>{tool.call}</strong>
              <div class="note mono" title={tool.effectId}>{shortId(tool.effectId, 14)}</div></td>
            <td><Badge tone={TOOL_TONES[tool.state]}>{tool.state}</Badge>
              <div class="note">{tool.effect}{tool.attempt > 1 && `, attempt ${tool.attempt}`}</div></td>
            <td class="right note">
              {tool.usage !== undefined && <div>{tool.usage.inputTokens}+{tool.usage.outputTokens} tokens</div>}
              {tool.cost !== undefined && <div>{amountText(tool.cost)}</div>}
              {tool.externalId !== undefined && <div class="mono">{tool.externalId}</div>}
            </td>
          </tr>
        ))}</tbody>
      </table></div>
    </Card>
  );
}

function UnknownTools({ detail, tools, refresh }: {
  readonly detail: JobDetail;
  readonly tools: readonly ToolAnswer[];
  readonly refresh: () => void;
}): JSX.Element {
  const asking = useAsking();
  return (
    <Card title="Nobody knows what became of these calls">
      {tools.map((tool) => (
        <div class="ask" key={tool.effectId}>
          <div class="ask-head">
            <div><div class="ask-summary">{tool.call}</div><p class="note">{tool.reason}</p>
              <p class="note">Look for <Code>{tool.effectId}</Code> at the other side, then say what you
                found.</p></div>
            <Button kind="main" onPress={() => askResolve(asking, detail.job, tool, refresh)}>
              Say what happened</Button>
          </div>
        </div>
      ))}
    </Card>
  );
}

function Children({ detail }: { readonly detail: JobDetail }): JSX.Element {
  return (
    <Card title="Jobs that it has started">
      <div class="table-wrap"><table><tbody>{detail.children.map((child) => (
        <tr key={child.job}><td><a class="link" href={hrefOf(["jobs", child.job])}>{child.job}</a></td>
          <td>{child.agent}</td><td class="right"><JobBadge job={child} /></td></tr>
      ))}</tbody></table></div>
    </Card>
  );
}
