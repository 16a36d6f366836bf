// Owns: the jobs of the agents' demo: what they are about, their start, and how many have ended.
import type { CliIo } from "../cli-io.ts";
import { JOBS, startedSchema } from "../job-answers.ts";
import type { AgentApi } from "./agent-api.ts";

const AGENT = "refunds";
const JOB = "refund-";
const ORDER = "o-";
/** So large that the agent asks a person. */
export const LARGE_CENTS = 90_000;
const LARGE_EVERY = 8;
const REFUSED_EVERY = 4;
const LETTERS = ["It arrived broken.", "It came three weeks late.", "It never came.", "I like it."] as const;
const LOOK_EVERY_MS = 50;

/** So that all three answers of reconcile are seen, however few jobs there are. */
export const WISHES: readonly (readonly [order: string, fate: string])[] = [
  [orderOf(1), "drop"], [orderOf(2), "lost"], [orderOf(3), "error silent"],
];

export interface Progress {
  readonly started: number;
  readonly completed: number;
  readonly ended: number;
}

export function jobOf(order: string): string {
  return `${JOB}${order}`;
}

export function orderOfJob(job: string): string {
  return job.slice(JOB.length);
}

export function orderOf(n: number): string {
  return `${ORDER}${String(n).padStart(4, "0")}`;
}

/** What the person says to a large refund: no to every fourth, beginning with one that the seed draws. */
export function isRefused(order: string, seed: number): boolean {
  const place = Number(order.slice(ORDER.length)) / LARGE_EVERY;
  return place % REFUSED_EVERY === seed % REFUSED_EVERY;
}

export class DemoWork {
  private readonly io: CliIo;
  private readonly api: AgentApi;
  private readonly payments: string;
  private started = 0;

  constructor(io: CliIo, api: AgentApi, payments: string) {
    this.io = io;
    this.api = api;
    this.payments = payments;
  }

  /** Starts so many jobs, evenly while `share` goes from 0 to 1. */
  async startAll(count: number, share: () => number): Promise<void> {
    for (let n = 1; n <= count; n++) {
      while (share() < n / count) await this.io.sleep(LOOK_EVERY_MS);
      const id = jobOf(orderOf(n));
      await this.api.ask(startedSchema, JOBS, { method: "POST", body: { agent: AGENT, id, input: this.inputOf(n) } });
      this.started += 1;
    }
  }

  /** Of the customers' jobs; those that they start count for themselves. */
  async progress(): Promise<Progress> {
    const jobs = await this.api.jobs({ agent: AGENT });
    const completed = jobs.filter(({ status }) => status === "completed").length;
    const ended = completed + jobs.filter(({ status }) => status === "failed" || status === "cancelled").length;
    return { started: this.started, completed, ended };
  }

  /** Every eighth is for a person to decide, every twentieth has no reason; some wait without a node. */
  private inputOf(n: number): Readonly<Record<string, unknown>> {
    const letter = n % 20 === 0 ? LETTERS[3] : LETTERS[n % 3];
    const cents = n % LARGE_EVERY === 0 ? LARGE_CENTS : 1_000 + n;
    return { order: orderOf(n), cents, letter, regret: `${1 + (n % 7)} s`, payments: this.payments };
  }
}
