// Owns: what is wrong with a job, the first event first.
import { AetherError } from "../../../base/errors.ts";

export interface JobProblem {
  /** Of a job that has continued as a new one: the run that the event is of. */
  readonly run?: number;
  /**
   * The event from which on the job is not to be trusted; absent where that is none in particular. In a store it is the
   * first one of an append that is wrong, or is followed by what does not fit: links stand between appends.
   */
  readonly seq?: number;
  readonly reason: string;
}

/** Of one job; more are forgotten. */
const PROBLEMS_MAX = 100;

export class JobProblems {
  private found: JobProblem[] = [];

  /** In the order of events, those of none in particular last. As many as fit, the first one among them. */
  get all(): readonly JobProblem[] {
    return this.found;
  }

  note({ run, seq }: Omit<JobProblem, "reason">, reason: string): void {
    const problem = { ...(run !== undefined && { run }), ...(seq !== undefined && { seq }), reason };
    this.found = [...this.found, problem].sort(inOrder).slice(0, PROBLEMS_MAX);
  }

  /** What `check` throws is noted. */
  attempt(place: Omit<JobProblem, "reason">, what: string, check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof AetherError)) throw error;
      this.note(place, `${what} cannot be read: ${error.message}`);
    }
  }

  /** The first event of the run that is not to be trusted. */
  firstOf(run: number | undefined): number | undefined {
    return this.found.find((problem) => problem.run === run)?.seq;
  }
}

function inOrder(a: JobProblem, b: JobProblem): number {
  const [runA, runB] = [a.run ?? Number.MAX_SAFE_INTEGER, b.run ?? Number.MAX_SAFE_INTEGER];
  if (runA !== runB) return runA - runB;
  return (a.seq ?? Number.MAX_SAFE_INTEGER) - (b.seq ?? Number.MAX_SAFE_INTEGER);
}
