// Owns: whether the payloads in an exported job are whole, and none is missing that its events name. One part of one of
// them is in memory at a time. Does not own: the lines (export-line.ts), what else the events say (run-check.ts).
import { DigestOfParts } from "../../../base/digest.ts";
import type { Digest } from "../../../base/ids.ts";
import { chunkBytesOf, chunkCountOf, type BlobRef } from "../payloads/blob.ts";
import type { ExportRecord } from "./export-line.ts";
import type { JobProblem, JobProblems } from "./job-problems.ts";

type PayloadRecord = Extract<ExportRecord, { readonly kind: "payload" }>;

/** Of the events of a job, the first one. */
interface Named extends BlobRef {
  readonly place: Omit<JobProblem, "reason">;
}

interface Reading {
  readonly digest: Digest;
  readonly parts: DigestOfParts;
  /** The part that comes next. */
  next: number;
  /** Another one came. */
  isBroken: boolean;
}

export class PayloadCheck {
  private readonly problems: JobProblems;
  private readonly named = new Map<Digest, Named>();
  private readonly seen = new Set<Digest>();
  private reading: Reading | undefined;

  constructor(problems: JobProblems) {
    this.problems = problems;
  }

  name(blob: BlobRef, place: Omit<JobProblem, "reason">): void {
    if (!this.named.has(blob.digest)) this.named.set(blob.digest, { ...blob, place });
  }

  take({ digest, part, bytes }: PayloadRecord): void {
    if (this.reading?.digest !== digest) this.begin(digest);
    const { reading } = this;
    if (reading === undefined) return;
    const named = this.named.get(digest);
    const isWhole = named === undefined || bytes.byteLength === chunkBytesOf(named, part);
    if (part !== reading.next || !isWhole) reading.isBroken = true;
    if (reading.isBroken) return;
    reading.parts.add(bytes);
    reading.next += 1;
  }

  end(): void {
    this.endReading();
    for (const [digest, { place }] of this.named) {
      if (!this.seen.has(digest)) this.problems.note(place, `the payload ${digest} that it names is missing`);
    }
  }

  private begin(digest: Digest): void {
    this.endReading();
    this.seen.add(digest);
    this.reading = { digest, parts: new DigestOfParts(), next: 0, isBroken: false };
  }

  private endReading(): void {
    const { reading } = this;
    if (reading === undefined) return;
    this.reading = undefined;
    const { digest, parts, next } = reading;
    const named = this.named.get(digest);
    const place = named?.place ?? {};
    const isCut = named !== undefined && next < chunkCountOf(named);
    if (reading.isBroken || isCut) {
      this.problems.note(place, `the payload ${digest}: its part ${next} is missing, or not what was stored`);
    } else if (parts.finish() !== digest) {
      this.problems.note(place, `the payload ${digest} is not what was stored: its bytes have another digest`);
    }
  }
}
