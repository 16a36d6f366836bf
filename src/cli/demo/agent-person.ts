// Owns: the person of the agents' demo, who does what people do beside agents: approve or refuse large refunds, and
// look into the payment service's books for calls whose outcome nobody knows.
import { z } from "zod";
import { toAetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";
import { approvalSchema, JOBS, jobSchema, type ShownApproval } from "../job-answers.ts";
import type { AgentApi } from "./agent-api.ts";
import type { BooksPage, DemoPayments } from "./agent-payments.ts";
import { isRefused, jobOf, orderOfJob } from "./agent-work.ts";

const LOOK_EVERY_MS = 1_000;
/** Who finds nothing in the books does not believe it before no request can be under way any more. */
const NOT_DONE_AFTER_MS = 10_000;
const PAGE = 1_000;

const approvalsSchema = z.object({ approvals: z.array(approvalSchema) });

/** What the person has said to large refunds, by the job: true is yes. */
export type Decisions = ReadonlyMap<string, boolean>;

export class DemoPerson {
  private readonly io: CliIo;
  private readonly api: AgentApi;
  private readonly payments: DemoPayments;
  private readonly seed: number;
  private readonly decided = new Map<string, boolean>();
  /** Since when a call is known to be in doubt, by its effect id. */
  private readonly doubtfulSinceMs = new Map<string, number>();
  private readonly settled = new Set<string>();
  private isStopping = false;

  constructor(io: CliIo, api: AgentApi, payments: DemoPayments, seed: number) {
    this.io = io;
    this.api = api;
    this.payments = payments;
    this.seed = seed;
  }

  get decisions(): Decisions {
    return this.decided;
  }

  async work(): Promise<void> {
    while (!this.isStopping) {
      const { approvals } = await this.api.ask(approvalsSchema, `/v1/approvals?limit=${PAGE}`);
      for (const asked of approvals) await this.decide(asked);
      const jobs = await this.api.jobs({ status: "waiting" });
      const { refunds } = await this.payments.books();
      const silent = refunds.filter(({ isSilent, key }) => isSilent && !this.settled.has(key));
      const doubtful = jobs.filter(({ waiting }) => waiting?.reason === "unknown" || waiting?.reason === "stuck");
      const toSettle = new Set([...doubtful.map(({ job }) => job), ...silent.map(({ order }) => jobOf(order))]);
      for (const job of toSettle) await this.settle(job, refunds);
      await this.io.sleep(LOOK_EVERY_MS);
    }
  }

  stop(): void {
    this.isStopping = true;
  }

  /** About what was shown and nothing else. */
  private async decide({ job, approval, shown }: ShownApproval): Promise<void> {
    const approved = !isRefused(orderOfJob(job), this.seed);
    this.decided.set(job, approved);
    const path = `${JOBS}/${job}/approvals/${encodeURIComponent(approval)}`;
    await this.tell(path, { approved, shown }, `decision about ${job}`);
  }

  private async settle(job: string, books: readonly BooksPage[]): Promise<void> {
    const { tools } = await this.api.ask(jobSchema, `${JOBS}/${job}`);
    for (const { effectId: key, effect, state } of tools) {
      if (effect !== "once") continue;
      const page = books.find((found) => found.key === key);
      if (state === "unknown") await this.settleCall(job, key, page);
      else this.doubtfulSinceMs.delete(key);
      if (state === "succeeded") this.settled.add(key);
    }
  }

  private async settleCall(job: string, key: string, page: BooksPage | undefined): Promise<void> {
    const nowMs = this.io.nowMs();
    const sinceMs = this.doubtfulSinceMs.get(key) ?? nowMs;
    this.doubtfulSinceMs.set(key, sinceMs);
    const [refund] = page?.refunds ?? [];
    if (refund === undefined && nowMs - sinceMs < NOT_DONE_AFTER_MS) return;
    const resolution = refund === undefined ? { kind: "not-done" } : { kind: "done", result: { refund } };
    await this.tell(`${JOBS}/${job}/tools/${key}/resolve`, resolution);
    this.doubtfulSinceMs.delete(key);
  }

  private async tell(path: string, body: unknown, key?: string): Promise<void> {
    try {
      await this.api.ask(z.unknown(), path, { method: "POST", body, ...(key === undefined ? {} : { key }) });
    } catch (error) {
      // Somebody else was quicker, or it was told before and the answer was lost.
      if (toAetherError(error).code !== "E_CONFLICT") throw error;
    }
  }
}
