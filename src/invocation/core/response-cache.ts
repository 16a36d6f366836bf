// Owns: answers that are kept for a while, by method and input: bounded in number and in bytes.
// Does not own: which answers may be kept (cached-calls.ts).

export interface CachedAnswer {
  readonly output: unknown;
  readonly bytes: number;
  readonly untilMs: number;
}

export interface CachePlace {
  /** `pricing.quote` */
  readonly method: string;
  /** The version that answers: another one's answers are forgotten with the first of a new one. */
  readonly version: string;
  readonly input: string;
}

interface MethodAnswers {
  readonly version: string;
  /** The one that was used last is the last. */
  readonly byInput: Map<string, CachedAnswer>;
}

/** What an entry takes besides its answer. */
const ENTRY_BYTES = 256;

export class ResponseCache {
  private readonly bytesMax: number;
  private readonly methods = new Map<string, MethodAnswers>();
  private bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get(place: CachePlace, nowMs: number): CachedAnswer | undefined {
    const answers = this.methods.get(place.method);
    const found = answers?.version === place.version ? answers.byInput.get(place.input) : undefined;
    if (answers === undefined || found === undefined) return undefined;
    this.remove(answers, place.input);
    if (found.untilMs <= nowMs) return undefined;
    this.add(answers, place.input, found);
    return found;
  }

  /** Without room, also after what is too old has gone, the answer is not kept. */
  put(place: CachePlace, answer: CachedAnswer, { entriesMax, nowMs }: { entriesMax: number; nowMs: number }): void {
    const answers = this.answersOf(place);
    this.remove(answers, place.input);
    for (const oldest of answers.byInput.keys()) {
      if (answers.byInput.size < entriesMax && this.hasRoom(answer)) break;
      this.remove(answers, oldest);
    }
    if (!this.hasRoom(answer)) this.forgetOld(nowMs);
    if (this.hasRoom(answer)) this.add(answers, place.input, answer);
  }

  private answersOf({ method, version }: CachePlace): MethodAnswers {
    const known = this.methods.get(method);
    if (known?.version === version) return known;
    if (known !== undefined) for (const input of known.byInput.keys()) this.remove(known, input);
    const answers = { version, byInput: new Map<string, CachedAnswer>() };
    this.methods.set(method, answers);
    return answers;
  }

  private hasRoom({ bytes }: CachedAnswer): boolean {
    return this.bytes + bytes + ENTRY_BYTES <= this.bytesMax;
  }

  private forgetOld(nowMs: number): void {
    for (const answers of this.methods.values()) {
      for (const [input, { untilMs }] of answers.byInput) if (untilMs <= nowMs) this.remove(answers, input);
    }
  }

  private add({ byInput }: MethodAnswers, input: string, answer: CachedAnswer): void {
    byInput.set(input, answer);
    this.bytes += answer.bytes + ENTRY_BYTES;
  }

  private remove({ byInput }: MethodAnswers, input: string): void {
    const found = byInput.get(input);
    if (found === undefined) return;
    byInput.delete(input);
    this.bytes -= found.bytes + ENTRY_BYTES;
  }
}
