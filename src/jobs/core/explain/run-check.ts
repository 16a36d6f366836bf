// Owns: whether the events and calls of ONE run of a job agree with each other: the chain, the ledger with the events.
// Does not own: whether they agree with the job's rows (job-check.ts).
import type { Digest } from "../../../base/ids.ts";
import { isSameData } from "../../../slices/core/canonical.ts";
import { AccountFold, type Account } from "../budget/account.ts";
import { effectIdOf, type ClusterUid, type EffectId, type JobUid } from "../ids.ts";
import { firstLink, nextLink } from "../log/chain.ts";
import { blobOf, endOf, type JobEvent, type StoredEvent } from "../log/event.ts";
import { readEvent } from "../log/upcast.ts";
import { digestOfPlain } from "../plain-digest.ts";
import type { JobHead, JobRow, JobRunRow, JobSpec } from "../rows.ts";
import { parseToolRow, type ToolRow } from "../tools/tool-row.ts";
import { rowValue, type ExportRecord } from "./export-line.ts";
import type { JobProblem, JobProblems } from "./job-problems.ts";
import { LedgerFold } from "./ledger-fold.ts";
import type { PayloadCheck } from "./payload-check.ts";

type EventRecord = Extract<ExportRecord, { readonly kind: "event" }>;
type ChunkRecord = Extract<ExportRecord, { readonly kind: "chunk" }>;

/** What is known of the run beside its events; absent where it cannot be read. */
export interface RunFrame {
  readonly run: number;
  /** False for the only run of a job: its problems name none. */
  readonly isNamed: boolean;
  readonly clusterUid?: ClusterUid | undefined;
  readonly uid?: JobUid | undefined;
  readonly effectUid?: JobUid | undefined;
  readonly row?: Pick<JobRow, "agent"> | undefined;
  /** What the run before it ran in the end. */
  readonly pin?: Digest | undefined;
  /** The account that it begins with. */
  readonly opened?: { readonly account: Account | undefined } | undefined;
  /** What it began with. */
  readonly begun?: Pick<JobRunRow & JobSpec, "input" | "inputBlob" | "inputDigest"> | undefined;
  /** Is told which payloads the events name. */
  readonly payloads: Pick<PayloadCheck, "name">;
}

export class RunCheck {
  /** The last event that can be read. */
  last: JobEvent | undefined;
  seq = 0;
  /** Of the last event; undefined where it is not known. */
  link: string | undefined;
  /** What it runs by its log, and the event that says so. */
  pin: { readonly digest: Digest; readonly seq: number } | undefined;
  private readonly frame: RunFrame;
  private readonly problems: JobProblems;
  private readonly fold = new LedgerFold();
  private readonly tools = new Set<EffectId>();
  private readonly accountFold = new AccountFold();
  /** Of all events that are in their place, for the chunks: that of event 1 first, unless some are missing. */
  private readonly links: Uint8Array[] = [];
  private steps = 0;
  private bytes = 0;
  /** The first event of the append that was read last: nothing after it vouches for it yet. */
  private unproved = 1;
  /** The first event that was missing. */
  private gapAt: number | undefined;

  constructor(frame: RunFrame, problems: JobProblems) {
    this.frame = frame;
    this.problems = problems;
  }

  /** After the events so far; undefined for a job without a budget. */
  get account(): Account | undefined {
    return this.accountFold.account;
  }

  get run(): number {
    return this.frame.run;
  }

  /** The number of the event that made the call's row as it is. */
  seqOf(effect: EffectId): number | undefined {
    return this.fold.seqOf(effect);
  }

  note(seq: number | undefined, reason: string): void {
    this.problems.note(this.at(seq), reason);
  }

  takeEvent(record: EventRecord): void {
    if (record.run !== this.run) return this.note(record.seq, `it is of run ${record.run}`);
    if (record.seq <= this.seq) return this.note(this.outOfPlace(record), "there are too many events up to here");
    if (record.seq > this.seq + 1) {
      this.gapAt ??= this.seq + 1;
      this.note(this.seq + 1, `${record.seq - this.seq - 1} events are missing from here`);
    }
    this.checkLink(record);
    this.seq = record.seq;
    this.link = record.link;
    this.links.push(bytesOf(record.link));
    this.bytes += record.bytes.byteLength;
    this.problems.attempt(this.at(record.seq), "the event", () => this.follow(readEvent(record.bytes), record.seq));
  }

  takeTool(effect: EffectId, bytes: Uint8Array): void {
    const seq = this.fold.seqOf(effect);
    if (this.tools.has(effect)) return this.note(seq, `there are two rows of the call ${effect}`);
    this.tools.add(effect);
    this.problems.attempt(this.at(seq), `the row of the call ${effect}`, () =>
      this.checkTool(effect, parseToolRow(rowValue(bytes))));
  }

  /** A chunk is what its pages are. Where events are missing it is compared with nothing. */
  takeChunk({ seq, prev, links }: ChunkRecord): void {
    if (links.length === 0) return this.note(seq, "the chunk of the events from here on cannot be read");
    if (this.gapAt !== undefined) return;
    const before = seq === 1 ? this.firstLink : hexAt(this.links, seq - 2);
    if (prev !== before) return this.note(seq, "the chunk of the events from here on is not of this log");
    const other = links.findIndex((link, index) => link !== hexAt(this.links, seq - 1 + index));
    if (other !== -1) this.note(seq + other, "in its chunk it is not as it was appended");
  }

  /** All of it was read; `head` is where the job says that it ends. */
  end(head: JobHead | undefined): void {
    for (const effect of this.fold.effects) {
      if (!this.tools.has(effect)) this.note(this.fold.seqOf(effect), `the ledger lacks the call ${effect}`);
    }
    if (head === undefined) return;
    const { seq, link, unproved, steps, bytes, fold } = this;
    if (head.seq > seq) this.note(seq + 1, `${head.seq - seq} events up to ${head.seq} are missing`);
    else if (head.seq < seq) this.note(head.seq + 1, `the job's head ends the log at ${head.seq}`);
    else if (hexOf(head.link) !== (link ?? this.firstLink)) {
      this.note(unproved, "an event from here on is not as it was appended");
    }
    const isSame = isSameData([head.steps, head.openEffects, head.bytes], [steps, fold.open, bytes]);
    if (!isSame || head.run !== this.run) this.note(Math.max(seq, head.seq), "the job's head counts other events");
    if (isSameData(head.account ?? null, this.account ?? null)) return;
    this.note(Math.max(seq, head.seq), "the job's head has spent or reserved something else of its budget");
  }

  /** Where an event stands that was to come earlier. */
  private outOfPlace({ seq, prev }: EventRecord): number {
    const isMissed = this.gapAt !== undefined && seq >= this.gapAt;
    if (isMissed) return seq;
    // A row of events that reaches into the next one is wrong from its beginning.
    if (prev !== undefined && seq > this.unproved) return this.unproved;
    return seq === this.seq ? seq : this.seq + 1;
  }

  private checkLink({ seq, prev, link, bytes }: EventRecord): void {
    const isNext = seq === this.seq + 1;
    const before = isNext ? (seq === 1 ? this.firstLink : this.link) : undefined;
    if (prev !== undefined && before !== undefined && prev !== before) {
      if (seq === 1) this.note(1, "it is not the first event of this job");
      else this.note(this.unproved, `an event before ${seq} is not as it was appended`);
    }
    if (prev !== undefined) this.unproved = seq;
    const from = prev ?? before;
    if (from !== undefined && hexOf(nextLink(bytesOf(from), seq, bytes)) !== link) {
      this.note(seq, "it is not as it was when its link was made");
    }
  }

  private get firstLink(): string | undefined {
    const { uid, run } = this.frame;
    return uid === undefined ? undefined : hexOf(firstLink(uid, run));
  }

  private follow({ event, epoch }: StoredEvent, seq: number): void {
    const { clusterUid, effectUid } = this.frame;
    if (this.last !== undefined && isRunEnd(this.last)) this.note(seq, "it comes after the end of the job");
    this.last = event;
    const blob = blobOf(event);
    if (blob !== undefined) this.frame.payloads.name(blob, this.at(seq));
    if (event.type === "step.completed" || event.type === "step.failed") this.steps += 1;
    if ((event.type === "job.created") !== (seq === 1)) this.note(seq, "it stands where no such event can be");
    this.accountFold.add(event);
    if (event.type === "job.created") this.checkCreated(event);
    if (event.type === "job.moved") this.checkMoved(event, seq);
    const problem = this.fold.add(event, { seq, epoch });
    if (problem !== undefined) this.note(seq, problem);
    if (!("effectId" in event) || clusterUid === undefined || effectUid === undefined) return;
    const effectId = effectIdOf(clusterUid, effectUid, event.call);
    if (effectId !== event.effectId) this.note(seq, `${event.effectId} is not the effect id of ${event.call}`);
  }

  private checkCreated(event: Extract<JobEvent, { readonly type: "job.created" }>): void {
    const { begun, row, opened, pin = event.pin } = this.frame;
    const isSame = opened === undefined || isSameData(opened.account ?? null, this.account ?? null);
    if (!isSame) this.note(1, "the job's budget is another one");
    if (pin !== event.pin) this.note(1, "the run's code is not what the run before has left to it");
    this.pin = { digest: event.pin, seq: 1 };
    if (begun === undefined || row === undefined) return;
    const digest = begun.inputBlob === undefined ? digestOfPlain(begun.input) : begun.inputDigest;
    if (begun.inputBlob?.digest !== event.blob?.digest) this.note(1, "the job's input is stored as another one");
    if (digest !== begun.inputDigest || digest !== event.inputDigest) this.note(1, "the job's input is another one");
    if (row.agent !== event.agent) this.note(1, `the job is one of agent ${row.agent}`);
  }

  private checkMoved({ from, to }: Extract<JobEvent, { readonly type: "job.moved" }>, seq: number): void {
    const { pin } = this;
    if (pin !== undefined && pin.digest !== from) this.note(seq, "the job was moved from what it did not run");
    this.pin = { digest: to, seq };
  }

  private checkTool(effect: EffectId, row: ToolRow): void {
    const seq = this.fold.seqOf(effect);
    if (seq === undefined) return this.note(row.seq, `the ledger has a call ${effect} that the log does not have`);
    const field = row.effectId === effect ? this.fold.difference(row) : "effectId";
    if (field === undefined) return;
    // The event that made the row as it is may be one that cannot be read.
    const broken = this.problems.firstOf(this.at(undefined).run);
    const isLost = broken !== undefined && seq < broken && broken <= row.seq;
    this.note(isLost ? broken : seq, `in the ledger the field ${field} of ${row.call} is not what the log says`);
  }

  private at(seq: number | undefined): Omit<JobProblem, "reason"> {
    const { isNamed, run } = this.frame;
    return { ...(isNamed && { run }), ...(seq !== undefined && { seq }) };
  }
}

function isRunEnd(event: JobEvent): boolean {
  return event.type === "job.continued" || endOf(event) !== undefined;
}

function hexAt(links: readonly Uint8Array[], index: number): string | undefined {
  const link = links[index];
  return link === undefined ? undefined : hexOf(link);
}

function hexOf(link: Uint8Array): string {
  return Buffer.from(link).toString("hex");
}

function bytesOf(link: string): Uint8Array {
  return Buffer.from(link, "hex");
}
