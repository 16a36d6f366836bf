// Owns: whether the rows and events of a job agree with each other, line by line of its export: the chain, the ledger
// with the events, the end with the head and the result. Names the first event from which on it does not.
// Does not own: the lines (export-line.ts), where they come from: a cluster, or a file.
//
// Whoever can write all of it anew, with another chain, is not found out: that shows against an older export only.
import { unreachable } from "../../../base/assert.ts";
import { AetherError } from "../../../base/errors.ts";
import { isSameData } from "../../../slices/core/canonical.ts";
import { effectIdOf, type ClusterUid, type EffectId } from "../ids.ts";
import { hasEnded } from "../life/job-life.ts";
import { firstLink, nextLink } from "../log/chain.ts";
import { endOf, type JobEvent, type StoredEvent } from "../log/event.ts";
import { LOG_EVENTS_MAX } from "../log/page.ts";
import { readEvent } from "../log/upcast.ts";
import { digestOfPlain } from "../plain-digest.ts";
import {
  parseJobHead, parseJobResult, parseJobRow, parseJobSpec, type JobHead, type JobResult, type JobRow, type JobSpec,
} from "../rows.ts";
import { parseToolRow, type ToolRow } from "../tools/tool-row.ts";
import { LinesDigest, readLine, rowValue, type ExportRecord, type ExportStart, type SingleRow } from "./export-line.ts";
import { LedgerFold } from "./ledger-fold.ts";

export interface JobProblem {
  /**
   * The event from which on the job is not to be trusted; absent where that is none in particular. In a store it is the
   * first one of an append that is wrong, or is followed by what does not fit: links stand between appends.
   */
  readonly seq?: number;
  readonly reason: string;
}

export interface JobVerdict {
  readonly job: string;
  /** How many there are. */
  readonly events: number;
  /** Link of the last one, to be compared with what was written down earlier. */
  readonly link: string;
  /** In the order of events; none for a job that is whole. As many as fit, the first one among them. */
  readonly problems: readonly JobProblem[];
}

const PROBLEMS_MAX = 100;

type EventRecord = Extract<ExportRecord, { readonly kind: "event" }>;

export class JobCheck {
  private readonly digest = new LinesDigest();
  private readonly fold = new LedgerFold();
  private readonly tools = new Set<EffectId>();
  private readonly seen = new Set<SingleRow>();
  private problems: JobProblem[] = [];
  private start: ExportStart | undefined;
  private row: JobRow | undefined;
  private head: JobHead | undefined;
  private spec: JobSpec | undefined;
  private result: JobResult | undefined;
  private last: JobEvent | undefined;
  private seq = 0;
  private steps = 0;
  private bytes = 0;
  /** Of the last event; undefined where it is not known. */
  private link: string | undefined;
  /** The first event of the append that was read last: nothing after it vouches for it yet. */
  private unproved = 1;
  /** The first event that was missing. */
  private gapAt: number | undefined;
  private isEnded = false;

  /** @throws AetherError E_INVALID for what is no export of a job, E_VERSION for one of a later format */
  add(text: string): void {
    if (this.isEnded) throw foreign("it goes on after its end");
    const { record, isAsShown } = readLine(text);
    if ((record.kind === "aether-job-export") !== (this.start === undefined)) throw foreign("it has no beginning");
    if (!isAsShown) this.note(this.seqOf(record), "what is shown is not what its bytes say");
    if (record.kind === "end") return this.end(record);
    this.digest.add(text);
    this.take(record);
  }

  /** @throws AetherError E_INVALID for an export that ends before its last line */
  finish(): JobVerdict {
    const { start } = this;
    if (start === undefined || !this.isEnded) throw foreign("it is cut off: its last line is missing");
    const { seq, link = "", problems } = this;
    return { job: start.job, events: seq, link, problems };
  }

  private take(record: Exclude<ExportRecord, { readonly kind: "end" }>): void {
    switch (record.kind) {
      case "aether-job-export":
        this.start = record;
        return;
      case "job":
      case "head":
      case "spec":
      case "result":
        return this.takeSingle(record.kind, record.bytes);
      case "event":
        return this.takeEvent(record);
      case "page":
        return this.note(record.seq, "the row of this event and those after it cannot be read");
      case "tool":
        return this.takeTool(record.effect as EffectId, record.bytes);
      default:
        return unreachable(record);
    }
  }

  private seqOf(record: ExportRecord): number | undefined {
    if (record.kind === "tool") return this.fold.seqOf(record.effect as EffectId);
    return "seq" in record ? record.seq : undefined;
  }

  private takeSingle(kind: SingleRow, bytes: Uint8Array): void {
    if (this.seen.has(kind)) return this.note(undefined, `there are two rows of its ${kind}`);
    this.seen.add(kind);
    this.attempt(undefined, `its ${kind}`, () => {
      const value = rowValue(bytes);
      if (kind === "job") this.row = parseJobRow(value);
      if (kind === "head") this.head = parseJobHead(value);
      if (kind === "spec") this.spec = parseJobSpec(value);
      if (kind === "result") this.result = parseJobResult(value);
    });
  }

  private takeEvent(record: EventRecord): void {
    if (record.seq > LOG_EVENTS_MAX) throw foreign(`a job has ${LOG_EVENTS_MAX} events at most`);
    if (record.run !== (this.row?.run ?? record.run)) return this.note(record.seq, `it is of run ${record.run}`);
    if (record.seq <= this.seq) return this.note(this.outOfPlace(record), "there are too many events up to here");
    if (record.seq > this.seq + 1) {
      this.gapAt ??= this.seq + 1;
      this.note(this.seq + 1, `${record.seq - this.seq - 1} events are missing from here`);
    }
    this.checkLink(record);
    this.seq = record.seq;
    this.link = record.link;
    this.bytes += record.bytes.byteLength;
    this.attempt(record.seq, "the event", () => this.follow(readEvent(record.bytes), record.seq));
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
    const { spec, row } = this;
    return spec === undefined || row === undefined ? undefined : hexOf(firstLink(spec.uid, row.run));
  }

  private follow({ event, epoch }: StoredEvent, seq: number): void {
    const { start, spec, row } = this;
    if (this.last !== undefined && endOf(this.last) !== undefined) this.note(seq, "it comes after the end of the job");
    this.last = event;
    if (event.type === "step.completed" || event.type === "step.failed") this.steps += 1;
    if ((event.type === "job.created") !== (seq === 1)) this.note(seq, "it stands where no such event can be");
    if (event.type === "job.created" && spec !== undefined && row !== undefined) this.checkCreated(event, spec, row);
    const problem = this.fold.add(event, { seq, epoch });
    if (problem !== undefined) this.note(seq, problem);
    if (!("effectId" in event) || start?.clusterUid === undefined || spec === undefined) return;
    const effectId = effectIdOf(start.clusterUid as ClusterUid, spec.effectUid, event.call);
    if (effectId !== event.effectId) this.note(seq, `${event.effectId} is not the effect id of ${event.call}`);
  }

  private checkCreated(event: Extract<JobEvent, { readonly type: "job.created" }>, spec: JobSpec, row: JobRow): void {
    const digest = digestOfPlain(spec.input);
    if (digest !== spec.inputDigest || digest !== event.inputDigest) this.note(1, "the job's input is another one");
    if (row.agent !== event.agent) this.note(1, `the job is one of agent ${row.agent}`);
    if (row.pin !== event.pin) this.note(1, "the job's code is not what it was started with");
  }

  private takeTool(effect: EffectId, bytes: Uint8Array): void {
    const seq = this.fold.seqOf(effect);
    if (this.tools.has(effect)) return this.note(seq, `there are two rows of the call ${effect}`);
    this.tools.add(effect);
    this.attempt(seq, `the row of the call ${effect}`, () => this.checkTool(effect, parseToolRow(rowValue(bytes))));
  }

  private checkTool(effect: EffectId, row: ToolRow): void {
    const seq = this.fold.seqOf(effect);
    if (seq === undefined) return this.note(row.seq, `the ledger has a call ${effect} that the log does not have`);
    const field = row.effectId === effect ? this.fold.difference(row) : "effectId";
    if (field === undefined) return;
    // The event that made the row as it is may be one that cannot be read.
    const broken = this.problems[0]?.seq;
    const isLost = broken !== undefined && seq < broken && broken <= row.seq;
    this.note(isLost ? broken : seq, `in the ledger the field ${field} of ${row.call} is not what the log says`);
  }

  private end({ lines, digest }: Extract<ExportRecord, { readonly kind: "end" }>): void {
    this.isEnded = true;
    this.checkEnd();
    for (const effect of this.fold.effects) {
      if (!this.tools.has(effect)) this.note(this.fold.seqOf(effect), `the ledger lacks the call ${effect}`);
    }
    if (lines !== this.digest.lines || digest !== this.digest.text) {
      this.note(undefined, "these are not the lines that were exported");
    }
  }

  private checkEnd(): void {
    const { row, head, spec, seq, link, unproved } = this;
    for (const [name, found] of Object.entries({ job: row, head, spec })) {
      if (found === undefined && !this.seen.has(name as SingleRow)) this.note(undefined, `its ${name} is missing`);
    }
    if (head !== undefined) {
      if (head.seq > seq) this.note(seq + 1, `${head.seq - seq} events up to ${head.seq} are missing`);
      else if (head.seq < seq) this.note(head.seq + 1, `the job's head ends the log at ${head.seq}`);
      else if (hexOf(head.link) !== (link ?? this.firstLink)) {
        this.note(unproved, "an event from here on is not as it was appended");
      }
      const isSame = isSameData([head.steps, head.openEffects, head.bytes], [this.steps, this.fold.open, this.bytes]);
      const isCounted = isSame && head.run === (row?.run ?? head.run);
      if (!isCounted) this.note(this.endSeq, "the job's head counts other events");
    }
    this.checkResult();
  }

  /** Where the log ends, or should. */
  private get endSeq(): number {
    return Math.max(this.seq, this.head?.seq ?? 0);
  }

  private checkResult(): void {
    const { row, last, result, endSeq: seq } = this;
    if (row === undefined || last === undefined) return;
    const ended = endOf(last);
    if (ended !== (hasEnded(row.status) ? row.status : undefined)) {
      return this.note(seq, `the job's row says ${row.status}, its log ${ended ?? "nothing of an end"}`);
    }
    if (result?.kind !== ended) return this.note(seq, `its result is ${result?.kind ?? "missing"}`);
    const isSame = last.type === "job.completed"
      ? result?.kind === "completed" && digestOfPlain(result.output) === last.outputDigest
      : last.type !== "job.failed" || (result?.kind === "failed" && isSameData(result.error, last.error));
    if (!isSame) this.note(seq, "its result is not the one that the log has");
  }

  private attempt(seq: number | undefined, what: string, check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof AetherError)) throw error;
      this.note(seq, `${what} cannot be read: ${error.message}`);
    }
  }

  /** What is of no event in particular comes last. */
  private note(seq: number | undefined, reason: string): void {
    const order = (problem: JobProblem): number => problem.seq ?? Number.POSITIVE_INFINITY;
    this.problems = [...this.problems, { ...(seq !== undefined && { seq }), reason }]
      .sort((a, b) => (order(a) === order(b) ? 0 : order(a) - order(b)))
      .slice(0, PROBLEMS_MAX);
  }
}

function hexOf(link: Uint8Array): string {
  return Buffer.from(link).toString("hex");
}

function bytesOf(link: string): Uint8Array {
  return Buffer.from(link, "hex");
}

function foreign(found: string): AetherError {
  return new AetherError("E_INVALID", `this is no export of a job: ${found}`);
}
