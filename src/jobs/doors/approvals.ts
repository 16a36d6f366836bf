// Owns: the approvals that jobs wait for: listing them, and telling a job what somebody decided. Does not own: asking
// for them (core/run/open-approvals.ts), times that are over (timer-driver.ts).
//
// A decision is one transaction: the approval is taken off the list, who decided is noted where nobody was noted, and
// the job gets it into its inbox. So there is one decision, and the second approver hears of the first.
import { sha256 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import { parseJobId, type Digest, type JobId } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import type { Clock } from "../../env/clock.ts";
import { knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { Kv, KvReadOptions } from "../../kvstore/kv.ts";
import { readUndamaged } from "../../slices/core/damaged-row.ts";
import { approvalKeyOf, approvalOf } from "../inbox/approval-rows.ts";
import {
  approvalNameSeen, approvalSeen, TOOL_APPROVAL, parseApprovalMark, type ApprovalMark,
} from "../core/flow/approval-row.ts";
import { refOf, type CallName } from "../core/ids.ts";
import { approvalKey, rowKey, seenKey } from "../core/life/job-keys.ts";
import { hasEnded } from "../core/life/job-life.ts";
import { parseJobRow } from "../core/rows.ts";
import type { InboxWriter } from "../inbox/inbox-writer.ts";
import { unknownJob } from "../job-store.ts";
import { checkSize } from "./jobs-drive.ts";
import { JOBS_PAGE_MAX } from "../limits.ts";
import type { ApprovalDecided, ApprovalListed, ApprovalPageQuery, Caller, DecideApproval, Jobs } from "../ports.ts";

export interface ApprovalsPorts {
  readonly kv: Pick<Kv, "get" | "list">;
  readonly inbox: Pick<InboxWriter, "put">;
}

/** What comes after the name of a tool's call in that of its approval. */
const OF_TOOL = `/${TOOL_APPROVAL}#1`;

export class Approvals implements Pick<Jobs, "approvals" | "decide"> {
  private readonly clock: Pick<Clock, "wallMs">;
  private readonly ports: ApprovalsPorts;

  constructor({ clock }: { readonly clock: Pick<Clock, "wallMs"> }, ports: ApprovalsPorts) {
    this.clock = clock;
    this.ports = ports;
  }

  async approvals({ job, limit = JOBS_PAGE_MAX, after }: ApprovalPageQuery, options: KvReadOptions = {}): Promise<{
    readonly approvals: readonly ApprovalListed[];
    readonly more: boolean;
    readonly next?: string;
  }> {
    const prefix = prefixOf({ kind: "job-approvals", ...(job === undefined ? {} : refOf(job)) });
    const from = after === undefined ? {} : { after: keyAfter(after) };
    const { entries, more } = await this.ports.kv.list({ prefix, limit, ...from }, options);
    const last = entries.findLast(({ key }) => knownKey(key) !== undefined);
    const next = last === undefined || !more ? {} : { next: placeOf(last.key) };
    return { approvals: entries.flatMap((entry) => readUndamaged(() => approvalOf(entry)) ?? []), more, ...next };
  }

  async decide(
    job: JobId, decision: DecideApproval, { principal }: Caller, options: CallOptions = {},
  ): Promise<ApprovalDecided> {
    const { approval, approved, data, idempotencyKey } = decision;
    checkSize(`what is said with the decision about "${approval}"`, data);
    const key = idempotencyKey === undefined ? {} : { key: sha256(idempotencyKey) };
    const before = await this.findMark(job, approval, options);
    if (before !== undefined && isSame(before, key.key)) return decidedOf(job, before);
    const open = await this.find(job, decision, options);
    if (open === undefined) return this.judgeLate(job, approval, key.key, options);
    const { call, row } = open;
    const ref = refOf(job);
    const how = approved ? "approved" : "rejected";
    const mark: ApprovalMark = { call, atMs: this.clock.wallMs(), how, principal, ...key };
    const put = await this.ports.inbox.put(ref, {
      entry: { kind: "decision", call, shown: row.shown, approved, data, principal },
      seen: { digest: approvalSeen(call), value: mark },
      then: [
        { kind: "delete", key: approvalKey(ref, call) },
        { kind: "put", key: seenKey(ref, approvalNameSeen(row.name)), value: mark },
      ],
    }, options);
    if (put.kind === "stored") return decidedOf(job, mark);
    const first = parseApprovalMark(put.value);
    if (isSame(first, key.key)) return decidedOf(job, first);
    throw lateError(job, first);
  }

  /** The approval that waits for a decision, if one does. @throws AetherError E_CONFLICT, E_INVALID */
  private async find(
    job: JobId, { approval, shown }: DecideApproval, options: CallOptions,
  ): Promise<ApprovalListed | undefined> {
    const { approvals: open } = await this.approvals({ job }, options);
    const exact = open.filter(({ call }) => call === approval || call === `${approval}${OF_TOOL}`);
    const found = exact.length > 0 ? exact : open.filter(({ row }) => row.name === approval);
    const [first, ...others] = found;
    if (first === undefined) return undefined;
    if (others.length > 0) {
      const calls = found.map(({ call }) => call).join(", ");
      throw new AetherError("E_INVALID", `job ${job} waits for ${found.length} approvals "${approval}": say which, ` +
        `of ${calls}`);
    }
    if (shown === undefined || shown === first.row.shown) return first;
    throw new AetherError("E_CONFLICT", `the approval "${first.call}" of job ${job} shows something else than what ` +
      "was decided about: look at it again", { details: { shown: first.row.shown } });
  }

  /** What somebody hears who found no approval: only now, because it may have ended since it was looked for. */
  private async judgeLate(
    job: JobId, approval: string, key: Digest | undefined, options: CallOptions,
  ): Promise<ApprovalDecided> {
    const mark = await this.findMark(job, approval, options);
    if (mark === undefined) throw await this.noneError(job, approval, options);
    if (isSame(mark, key)) return decidedOf(job, mark);
    throw lateError(job, mark);
  }

  /** How it ended, or the latest one of that name did. */
  private async findMark(job: JobId, approval: string, options: CallOptions): Promise<ApprovalMark | undefined> {
    const ref = refOf(job);
    const calls = [approval, `${approval}${OF_TOOL}`].map((text) => approvalSeen(text as CallName));
    const digests = [...calls, approvalNameSeen(approval)];
    const found = await Promise.all(digests.map((digest) => this.ports.kv.get(seenKey(ref, digest), options)));
    const entry = found.find((read) => read.entry !== undefined)?.entry;
    return entry === undefined ? undefined : parseApprovalMark(entry.value);
  }

  private async noneError(job: JobId, approval: string, options: CallOptions): Promise<AetherError> {
    const { entry } = await this.ports.kv.get(rowKey(refOf(job)), options);
    if (entry === undefined) return unknownJob(job);
    const { status } = parseJobRow(entry.value);
    if (hasEnded(status)) {
      return new AetherError("E_CONFLICT", `job ${job} is ${status}: it waits for no approval "${approval}"`);
    }
    const { approvals: open } = await this.approvals({ job }, options);
    const calls = open.map(({ call }) => call).join(", ");
    const advice = calls === "" ? "it waits for none" : `it waits for ${calls}`;
    return new AetherError("E_NOT_FOUND", `job ${job} waits for no approval "${approval}"; ${advice}`);
  }
}

function isSame({ key }: ApprovalMark, asked: Digest | undefined): boolean {
  return asked !== undefined && key === asked;
}

function decidedOf(job: JobId, { call, how }: ApprovalMark): ApprovalDecided {
  return { job, call, approved: how === "approved" };
}

/** How it ended, for whoever comes too late. */
function markText({ how, principal, atMs }: ApprovalMark): string {
  const at = new Date(atMs).toISOString();
  return how === "expired" ? `its time was over at ${at}` : `${principal ?? "somebody"} has ${how} it at ${at}`;
}

function lateError(job: JobId, mark: ApprovalMark): AetherError {
  const { call, how, principal, atMs } = mark;
  return new AetherError("E_CONFLICT", `the approval "${call}" of job ${job} is over: ${markText(mark)}`, {
    details: { approval: call, how, atMs, ...(principal !== undefined && { by: principal }) },
  });
}

/** As it is told to whoever lists them: a job, and a call of it. */
function placeOf(text: KeyText): string {
  const { job, name } = approvalKeyOf(text);
  return `${job}/${name}`;
}

/** @throws AetherError E_INVALID */
function keyAfter(place: string): KeyText {
  const at = place.indexOf("/");
  if (at > 0) return approvalKey(refOf(parseJobId(place.slice(0, at))), place.slice(at + 1) as CallName);
  throw new AetherError("E_INVALID", `"${place.slice(0, 100)}" is no place in the list: use the \`next\` of an answer`);
}
