// Owns: whether the rows and events of a job agree with each other, line by line of its export: each of its runs, one
// run with the next, the end with the head and the result. Names the first event from which on it does not.
// Does not own: what is in a run (run-check.ts), the lines (export-line.ts), where they come from.
//
// Whoever can write all of it anew, with another chain, is not found out: that shows against an older export only.
import { unreachable } from "../../../base/assert.ts";
import { AetherError } from "../../../base/errors.ts";
import { isSameData } from "../../../slices/core/canonical.ts";
import type { Digest } from "../../../base/ids.ts";
import type { ClusterUid, EffectId } from "../ids.ts";
import { continuedAccount, openAccount, type Account } from "../budget/account.ts";
import { hasEnded } from "../life/job-life.ts";
import { endOf, type JobEvent } from "../log/event.ts";
import { LOG_EVENTS_MAX } from "../log/page.ts";
import { outputDigestOf } from "../payloads/blob.ts";
import {
  parseJobHead, parseJobResult, parseJobRow, parseJobRun, parseJobSpec, type JobHead, type JobResult, type JobRow,
  type JobRunRow, type JobSpec,
} from "../rows.ts";
import {
  FORMAT_WITH_PAYLOADS, LinesDigest, readLine, rowValue, type ExportRecord, type ExportStart, type SingleRow,
} from "./export-line.ts";
import { JobProblems, type JobProblem } from "./job-problems.ts";
import { PayloadCheck } from "./payload-check.ts";
import { RunCheck, type RunFrame } from "./run-check.ts";

export interface JobVerdict {
  readonly job: string;
  /** Of a job that has continued as a new one: how many runs these are. */
  readonly runs?: number;
  /** How many there are, of all runs. */
  readonly events: number;
  /** Link of the last one, to be compared with what was written down earlier. */
  readonly link: string;
  /** In the order of events; none for a job that is whole. As many as fit, the first one among them. */
  readonly problems: readonly JobProblem[];
}

type EventRecord = Extract<ExportRecord, { readonly kind: "event" }>;
type RunRecord = Extract<ExportRecord, { readonly kind: "run" }>;

/** A run that the job continued after. */
interface EarlierRun {
  readonly check: RunCheck;
  readonly row: JobRunRow | undefined;
}

export class JobCheck {
  private readonly digest = new LinesDigest();
  private readonly seen = new Set<SingleRow>();
  private readonly found = new JobProblems();
  private readonly payloads = new PayloadCheck(this.found);
  private readonly runs = new Set<number>();
  private start: ExportStart | undefined;
  private row: JobRow | undefined;
  private head: JobHead | undefined;
  private spec: JobSpec | undefined;
  private result: JobResult | undefined;
  private earlier: EarlierRun | undefined;
  /** Of the run before. */
  private accountBefore: Account | undefined;
  /** The last event of the run before this one. */
  private before: JobEvent | undefined;
  /** The latest run, once something of it was read. */
  private latest: RunCheck | undefined;
  private eventsBefore = 0;
  private isEnded = false;
  /** What the run before this one ran in the end. */
  private pinBefore: Digest | undefined;

  /** @throws AetherError E_INVALID for what is no export of a job, E_VERSION for one of a later format */
  add(text: string): void {
    if (this.isEnded) throw foreign("it goes on after its end");
    const { record, isAsShown } = readLine(text);
    if ((record.kind === "aether-job-export") !== (this.start === undefined)) throw foreign("it has no beginning");
    if (record.kind === "end") {
      if (!isAsShown) this.noteShown(record);
      return this.end(record);
    }
    this.digest.add(text);
    if (record.kind === "run") this.beginEarlier(record);
    if (!isAsShown) this.noteShown(record);
    this.take(record);
  }

  /** @throws AetherError E_INVALID for an export that ends before its last line */
  finish(): JobVerdict {
    const { start, latest } = this;
    if (start === undefined || !this.isEnded) throw foreign("it is cut off: its last line is missing");
    const { seq = 0, link = "" } = latest ?? {};
    const runs = this.runs.size === 0 ? {} : { runs: this.runs.size + 1 };
    return { job: start.job, ...runs, events: this.eventsBefore + seq, link, problems: this.found.all };
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
      case "run":
        return;
      case "event":
        return this.takeEvent(record);
      case "page":
        return this.checkOf(record.run).note(record.seq, "the row of this event and those after it cannot be read");
      case "chunk":
        return this.current.takeChunk(record);
      case "tool":
        return this.current.takeTool(record.effect as EffectId, record.bytes);
      case "payload":
        return this.payloads.take(record);
      default:
        return unreachable(record);
    }
  }

  private noteShown(record: ExportRecord): void {
    const reason = "what is shown is not what its bytes say";
    if (record.kind === "tool") this.current.note(this.current.seqOf(record.effect as EffectId), reason);
    else if (record.kind === "event" || record.kind === "page") this.checkOf(record.run).note(record.seq, reason);
    else this.found.note(record.kind === "run" ? { run: record.run } : {}, reason);
  }

  private takeSingle(kind: SingleRow, bytes: Uint8Array): void {
    if (this.seen.has(kind)) return this.found.note({}, `there are two rows of its ${kind}`);
    this.seen.add(kind);
    this.found.attempt({}, `its ${kind}`, () => {
      const value = rowValue(bytes);
      if (kind === "job") this.row = parseJobRow(value);
      if (kind === "head") this.head = parseJobHead(value);
      if (kind === "spec") this.spec = parseJobSpec(value);
      if (kind === "result") this.result = parseJobResult(value);
    });
  }

  private takeEvent(record: EventRecord): void {
    if (record.seq > LOG_EVENTS_MAX) throw foreign(`a run of a job has ${LOG_EVENTS_MAX} events at most`);
    this.checkOf(record.run).takeEvent(record);
  }

  // Runs.

  /** The run that is being read. */
  private get current(): RunCheck {
    return this.latest ?? this.earlier?.check ?? this.beginLatest(this.row?.run ?? 1);
  }

  /** What stands in no run of its own is of the one that is being read, which says so. */
  private checkOf(run: number): RunCheck {
    const latest = this.row?.run ?? run;
    return run === latest && this.latest === undefined ? this.beginLatest(run) : this.current;
  }

  private beginEarlier({ run, bytes }: RunRecord): void {
    this.endEarlier();
    const latest = this.row?.run ?? Number.MAX_SAFE_INTEGER;
    const isPlaced = this.latest === undefined && run === this.nextRun && run < latest;
    if (!isPlaced) this.found.note({ run }, "the row of this run stands where no such row can be");
    this.runs.add(run);
    let row: JobRunRow | undefined;
    this.found.attempt({ run }, "the row of this run", () => {
      row = parseJobRun(rowValue(bytes));
    });
    this.earlier = { row, check: this.openRun(run, row) };
  }

  private endEarlier(): void {
    const { earlier } = this;
    if (earlier === undefined) return;
    const { check, row } = earlier;
    check.end(row?.head);
    const { last, seq } = check;
    const isContinued = last?.type === "job.continued" && last.run === check.run + 1;
    if (!isContinued && row !== undefined) check.note(Math.max(1, seq), "its last event is not that the job continued");
    this.eventsBefore += seq;
    this.before = last;
    this.accountBefore = check.account;
    this.pinBefore = check.pin?.digest;
    this.earlier = undefined;
  }

  private beginLatest(run: number): RunCheck {
    this.endEarlier();
    this.latest = this.openRun(run, this.spec);
    return this.latest;
  }

  private openRun(run: number, begun: JobRunRow | JobSpec | undefined): RunCheck {
    const { start, spec, row, before } = this;
    const check = new RunCheck({
      run,
      isNamed: this.runs.size > 0 || (row?.run ?? run) > (spec?.firstRun ?? 1),
      clusterUid: start?.clusterUid as ClusterUid | undefined,
      uid: spec?.uid,
      effectUid: spec?.effectUid,
      row,
      pin: this.pinBefore,
      begun,
      payloads: this.payloads,
      ...this.accountFor(run),
    }, this.found);
    const wanted = before?.type === "job.continued" ? before.inputDigest : begun?.inputDigest;
    if (wanted !== begun?.inputDigest) check.note(1, "the run's input is not what the run before has left to it");
    return check;
  }

  /** What the run begins with, as the run before has left it; nothing where that cannot be told. */
  private accountFor(run: number): { readonly opened?: RunFrame["opened"] } {
    const { spec, before, accountBefore } = this;
    if (before?.type === "job.continued") {
      return { opened: { account: accountBefore && continuedAccount(accountBefore) } };
    }
    if (spec === undefined || run !== (spec.firstRun ?? 1)) return {};
    return { opened: { account: spec.budget && openAccount(spec.budget) } };
  }

  /** The run whose row comes next. */
  private get nextRun(): number {
    return (this.spec?.firstRun ?? 1) + this.runs.size;
  }

  // The end.

  private end({ lines, digest }: Extract<ExportRecord, { readonly kind: "end" }>): void {
    this.isEnded = true;
    const { row, head, spec } = this;
    const latest = this.latest ?? this.beginLatest(row?.run ?? 1);
    for (const [name, found] of Object.entries({ job: row, head, spec })) {
      if (found === undefined && !this.seen.has(name as SingleRow)) this.found.note({}, `its ${name} is missing`);
    }
    for (let run = this.nextRun; run < (row?.run ?? 1); run++) {
      this.found.note({ run, seq: 1 }, "the row of this run is missing");
    }
    latest.end(head);
    const { pin } = latest;
    if (pin !== undefined && row !== undefined && pin.digest !== row.pin) {
      latest.note(pin.seq, "the job's code is not what its log says");
    }
    this.checkResult(latest);
    if ((this.start?.format ?? 0) >= FORMAT_WITH_PAYLOADS) this.payloads.end();
    if (lines !== this.digest.lines || digest !== this.digest.text) {
      this.found.note({}, "these are not the lines that were exported");
    }
  }

  private checkResult(check: RunCheck): void {
    const { row, result, head } = this;
    const { last } = check;
    if (row === undefined || last === undefined) return;
    const seq = Math.max(check.seq, head?.seq ?? 0);
    const ended = endOf(last);
    if (ended !== (hasEnded(row.status) ? row.status : undefined)) {
      return check.note(seq, `the job's row says ${row.status}, its log ${ended ?? "nothing of an end"}`);
    }
    if (result?.kind !== ended) return check.note(seq, `its result is ${result?.kind ?? "missing"}`);
    const isSame = last.type === "job.completed"
      ? result?.kind === "completed" && isOutputOf(result, last)
      : last.type !== "job.failed" || (result?.kind === "failed" && isSameData(result.error, last.error));
    if (!isSame) check.note(seq, "its result is not the one that the log has");
  }
}

function isOutputOf(
  result: Extract<JobResult, { readonly kind: "completed" }>,
  { outputDigest, blob: logged }: Extract<JobEvent, { readonly type: "job.completed" }>,
): boolean {
  return outputDigestOf(result) === outputDigest && result.blob?.digest === logged?.digest;
}

function foreign(found: string): AetherError {
  return new AetherError("E_INVALID", `this is no export of a job: ${found}`);
}
