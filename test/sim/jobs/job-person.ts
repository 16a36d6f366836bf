// Owns: the people of a run of jobs: they decide what is asked, look what became of calls that nobody else can know
// about, let jobs spend more, and let those go on that are stuck; what they said is noted.
import { AetherError } from "../../../src/base/errors.ts";
import { parseArtifactId, type JobId } from "../../../src/base/ids.ts";
import type { Amount } from "../../../src/jobs/core/budget/account.ts";
import type { ApprovalListed, Caller, Jobs, JobListed } from "../../../src/jobs/ports.ts";
import { askJobs, TESTER, type JobsPorts } from "../../../src/testkit/ask-jobs.ts";
import type { OutsideRequest } from "../../../src/testkit/sim/outside.ts";
import type { TestCluster } from "../../../src/testkit/test-cluster.ts";
import type { Decision } from "./job-books.ts";

export interface PersonPorts {
  readonly jobs: JobsPorts;
  /** What has left for the tool whose calls only people can find out about. */
  requests(): readonly OutsideRequest[];
  /** What the other side answered when it had its effect. */
  receiptOf(effectId: string): string | undefined;
}

const EVERY_MS = 700;
/** What is not answered by then is asked again. */
const ASK_MS_MAX = 5_000;
const JOBS_MAX = 200;
const ADA: Caller = { ...TESTER, principal: "ada" };
const BOB: Caller = { ...TESTER, principal: "bob" };
const ADDED: Required<Amount> = { usdMicros: 500_000, tokens: 600, steps: 3 };

export class JobPerson {
  readonly answers = new Map<string, number>();
  readonly decisions = new Map<string, Decision[]>();
  readonly raises = new Map<string, Set<string>>();
  private readonly ports: PersonPorts;
  private seen = 0;

  constructor(ports: PersonPorts) {
    this.ports = ports;
  }

  async work(cluster: TestCluster, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await orLater(this.look());
      await cluster.advance(EVERY_MS);
    }
  }

  private async look(): Promise<void> {
    const { approvals } = await this.ask((jobs) => jobs.approvals({ limit: JOBS_MAX }));
    await Promise.all(approvals.map((one) => orLater(this.decide(one))));
    const { jobs: waiting } = await this.ask((jobs) => jobs.list({ status: "waiting", limit: JOBS_MAX }));
    await Promise.all(waiting.map((one) => orLater(this.see(one))));
  }

  private async see({ job, row: { waiting } }: JobListed): Promise<void> {
    if (waiting?.reason === "unknown") await this.settleCalls(job);
    if (waiting?.reason === "budget" || waiting?.on.includes("budget") === true) await this.raise(job);
    if (waiting?.reason === "restored") await this.ask((jobs) => jobs.release(job, ADA));
    if (waiting?.reason === "stuck") await this.letGo(job, waiting.why ?? "");
  }

  /** Every third time two of them at once, who do not agree. */
  private async decide({ job, call }: ApprovalListed): Promise<void> {
    this.seen += 1;
    const approved = this.seen % 4 !== 0;
    const isTwice = this.seen % 3 === 0;
    await Promise.all([
      this.say(job, call, { approved, caller: ADA }),
      ...(isTwice ? [this.say(job, call, { approved: !approved, caller: BOB })] : []),
    ]);
  }

  private async say(
    job: JobId, call: string, { approved, caller }: { readonly approved: boolean; readonly caller: Caller },
  ): Promise<void> {
    const { principal } = caller;
    const place = `${job} ${call}`;
    const decision: Decision = { approved, principal, isAcknowledged: false };
    this.decisions.set(place, [...this.decisions.get(place) ?? [], decision]);
    const idempotencyKey = `${place} ${principal} ${this.seen}`;
    const decided = await orConflict(this.ask((jobs) =>
      jobs.decide(job, { approval: call, approved, data: null, idempotencyKey }, caller)));
    decision.isAcknowledged = decided !== undefined;
  }

  /** Looks at the other side before they answer: what is on its way there is waited for. */
  private async settleCalls(job: JobId): Promise<void> {
    const { tools } = await this.ask((jobs) => jobs.show(job));
    for (const { tool, effectId, state } of tools) {
      if (state !== "unknown" || tool !== "blind") continue;
      const sent = this.ports.requests().filter(({ key }) => key === effectId);
      if (sent.some(({ state: request }) => request === "travelling" || request === "working")) continue;
      const result = this.ports.receiptOf(effectId);
      this.answers.set(effectId, (this.answers.get(effectId) ?? 0) + 1);
      const resolution = result === undefined ? { kind: "not-done" } as const : { kind: "done", result } as const;
      await orConflict(this.ask((jobs) => jobs.resolve(job, effectId, resolution, ADA)));
    }
  }

  /** Sent twice under one key, through any nodes. */
  private async raise(job: JobId): Promise<void> {
    const { head: { account } } = await this.ask((jobs) => jobs.show(job));
    if (account === undefined) return;
    const add: Amount = Object.fromEntries(
      Object.entries(ADDED).filter(([unit]) => account.limit[unit as keyof Amount] !== undefined),
    );
    const idempotencyKey = JSON.stringify(account.limit);
    this.raises.set(job, new Set([...this.raises.get(job) ?? [], idempotencyKey]));
    const send = (): Promise<unknown> =>
      orConflict(this.ask((jobs) => jobs.raise(job, { add, idempotencyKey }, ADA)));
    await Promise.all([send(), send()]);
  }

  /** One that was to be moved is moved, or goes on with what it has. */
  private async letGo(job: JobId, why: string): Promise<void> {
    const to = /to be moved to (\S+):/.exec(why)?.[1];
    this.seen += 1;
    const letGo = async (jobs: Jobs): Promise<unknown> => (to !== undefined && this.seen % 2 === 0
      ? await jobs.move(job, parseArtifactId(to), ADA)
      : await jobs.release(job, ADA));
    await orConflict(this.ask(letGo));
  }

  private ask<T>(act: (jobs: Jobs) => Promise<T>): Promise<T> {
    return askJobs(this.ports.jobs, "what a person does", act, ASK_MS_MAX);
  }
}

/** Undefined when it has ended, or somebody else was faster. */
export async function orConflict<T>(telling: Promise<T>): Promise<T | undefined> {
  try {
    return await telling;
  } catch (error) {
    if (!(error instanceof AetherError) || error.code !== "E_CONFLICT") throw error;
    return undefined;
  }
}

/** What does not come about now is tried again when they look again. */
async function orLater(doing: Promise<unknown>): Promise<void> {
  try {
    await doing;
  } catch (error) {
    if (!(error instanceof AetherError)) throw error;
  }
}
