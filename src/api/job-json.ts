// Owns: how jobs, their events and their tool calls look as JSON.
import type { Account } from "../jobs/core/budget/account.ts";
import { budgetOf } from "../jobs/core/budget/amounts.ts";
import { deadlineOf } from "../jobs/core/life/deadline.ts";
import { isHalfFull } from "../jobs/core/log/page.ts";
import type { ToolRow } from "../jobs/core/tools/tool-row.ts";
import type { Budget } from "../sdk/budget.ts";
import type { ApprovalListed, JobListed, JobShown, NumberedEvent } from "../jobs/ports.ts";

export function listedJson({ job, row }: JobListed): Readonly<Record<string, unknown>> {
  const {
    agent, tenant, status, waiting, owner, epoch, run, queueClass, priority, attributes, createdMs, sinceMs,
    collectedMs,
  } = row;
  return {
    job,
    agent,
    tenant,
    status,
    ...(waiting === undefined ? {} : { waiting }),
    ...(owner === undefined ? {} : { owner: owner.node }),
    epoch,
    run,
    queueClass,
    priority,
    attributes,
    createdMs,
    sinceMs,
    ...(row.parent === undefined ? {} : { parent: row.parent }),
    ...(collectedMs === undefined ? {} : { collectedMs }),
  };
}

export function shownJson(shown: JobShown): Readonly<Record<string, unknown>> {
  const { row, head, spec, tools, children, approvals, result, untold, pending, repeatedBy } = shown;
  const deadlineMs = deadlineOf(spec);
  return {
    ...listedJson(shown),
    ...(pending === undefined ? {} : { pending }),
    ...(row.labels === undefined ? {} : { labels: row.labels }),
    ...(deadlineMs === undefined ? {} : { maxDurationMs: spec.maxDurationMs, deadlineMs }),
    ...(head.account === undefined ? {} : { budget: accountJson(head.account) }),
    pin: row.pin,
    ...(shown.artifact === undefined ? {} : { artifact: shown.artifact }),
    uid: spec.uid,
    input: spec.input,
    ...(spec.inputBlob === undefined ? {} : { inputBlob: spec.inputBlob }),
    inputDigest: spec.inputDigest,
    events: head.seq,
    logBytes: head.bytes,
    isLogHalfFull: isHalfFull(head),
    link: Buffer.from(head.link).toString("hex"),
    steps: head.steps,
    tools: tools.map(toolJson),
    ...(spec.parent === undefined ? {} : { parentCall: spec.parent.call, isDetached: spec.parent.isDetached }),
    children: children.map(({ job, row: { agent, status } }) => ({ job, agent, status })),
    ...(approvals.length === 0 ? {} : { approvals: approvals.map(approvalJson) }),
    ...(result === undefined ? {} : { result }),
    ...(repeatedBy === undefined ? {} : { repeatedBy }),
    ...(untold === undefined ? {} : { untold }),
  };
}

export function approvalJson({ job, call, row }: ApprovalListed): Readonly<Record<string, unknown>> {
  const { agent, ...rest } = row;
  return { job, approval: call, agent, ...rest };
}

function toolJson(row: ToolRow): Readonly<Record<string, unknown>> {
  const { state, effectId, call, tool, effect, canReconcile, epoch, attempt, timeoutMs } = row;
  const { externalId, reason, usage, reserved, cost } = row;
  return {
    effectId, call, tool, effect, state, attempt, epoch, canReconcile, timeoutMs,
    ...(externalId === undefined ? {} : { externalId }),
    ...(reason === undefined ? {} : { reason }),
    ...(usage === undefined ? {} : { usage }),
    ...(reserved === undefined ? {} : { reserved: budgetOf(reserved) }),
    ...(cost === undefined ? {} : { cost: budgetOf(cost) }),
  };
}

function accountJson({ limit, reserved, spent }: Account): Readonly<Record<string, Budget>> {
  return { limit: budgetOf(limit), reserved: budgetOf(reserved), spent: budgetOf(spent) };
}

export function eventJson({ run, seq, atMs, epoch, link, event }: NumberedEvent): Readonly<Record<string, unknown>> {
  const { type, ...data } = event;
  return { run, seq, type, atMs, epoch, data, link };
}
