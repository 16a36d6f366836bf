// Owns: the page of what jobs wait for people to decide.
import type { JSX } from "preact";
import { ask, segment } from "../api.ts";
import type { ApprovalAnswer } from "../answers.ts";
import { plural } from "../core/format.ts";
import { useFeed } from "../live/use-answer.ts";
import { hrefOf } from "../route.ts";
import { useSession } from "../session.tsx";
import { jsonOf, useAsking, type Asking } from "../ui/dialog.tsx";
import { Failure } from "../ui/failure.tsx";
import { Ago, Button, Card, dateText, Code, Empty, Json, Loading, PageHead } from "../ui/parts.tsx";

const EVERY_MS = 1_500;

export function ApprovalsPage(): JSX.Element {
  const { data, failure, refresh } = useFeed(useSession().approvals, EVERY_MS);
  const count = data?.approvals.length ?? 0;
  const note = data?.more === true ? `the first ${count}` : `${plural(count, "decision")} to make`;
  return (
    <div class="page">
      <PageHead title="Approvals" note={data === undefined ? " " : note} />
      {failure !== undefined && <Failure failure={failure} />}
      {(data !== undefined || failure === undefined) && <Card>
        {data === undefined && <Loading />}
        {data !== undefined && count === 0 &&
          <Empty title="Nothing waits for a decision">Jobs ask here before they do what a person has to allow.</Empty>}
        {data?.approvals.map((approval) =>
          <ApprovalAsk key={`${approval.job}/${approval.approval}`} approval={approval} onDone={refresh} />)}
      </Card>}
    </div>
  );
}

export function ApprovalAsk({ approval, onDone, isOfJob = false }: {
  readonly approval: ApprovalAnswer;
  readonly onDone: () => void;
  readonly isOfJob?: boolean;
}): JSX.Element {
  const asking = useAsking();
  const { job, agent, summary, data, tool, name, requestedMs, untilMs } = approval;
  return (
    <article class="ask">
      <div class="ask-head">
        <div>
          <div class="ask-summary">{summary}</div>
          <p class="note">
            {tool === undefined ? `asked as ${name}` : `before it calls ${tool}`}, <Ago atMs={requestedMs} />
            {untilMs !== undefined && `, until ${dateText(untilMs)}`}
            {!isOfJob && <> · {agent} <a href={hrefOf(["jobs", job])}><Code>{job}</Code></a></>}
          </p>
        </div>
        <div class="actions">
          <Button kind="danger" onPress={() => askDecision(asking, approval, { isApproved: false, onDone })}>
            Refuse</Button>
          <Button kind="main" onPress={() => askDecision(asking, approval, { isApproved: true, onDone })}>
            Approve</Button>
        </div>
      </div>
      {data !== undefined && data !== null && <Json value={data} />}
    </article>
  );
}

/** With the digest of what was shown: a decision holds for nothing else. */
function askDecision(asking: Asking, { job, approval, summary, shown }: ApprovalAnswer, told: {
  readonly isApproved: boolean;
  readonly onDone: () => void;
}): void {
  const { isApproved, onDone } = told;
  asking.ask({
    title: isApproved ? "Approve this?" : "Refuse this?",
    text: summary,
    fields: [{ name: "data", label: "A note for the job", kind: "json", value: "null",
      hint: "Any JSON: its code is given it with the decision" }],
    action: isApproved ? "Approve" : "Refuse",
    again: "once",
    kind: isApproved ? "main" : "danger",
    run: async ({ data }, key) => {
      const body = { approved: isApproved, shown, data: jsonOf(data) };
      await ask(`/v1/jobs/${segment(job)}/approvals/${segment(approval)}`, { method: "POST", body, key });
      onDone();
      return isApproved ? `Approved for ${job}` : `Refused for ${job}`;
    },
  });
}
