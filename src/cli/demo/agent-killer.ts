// Owns: the killing of nodes in the agents' demo: every two seconds one, every other time the one whose call the
// payment service is holding. A node that was killed is started again at once, and the next one dies when it is back.
import type { Random } from "../../base/random.ts";
import type { CliIo } from "../cli-io.ts";
import { JOBS, jobSchema } from "../job-answers.ts";
import type { AgentApi } from "./agent-api.ts";
import type { BooksPage, DemoPayments } from "./agent-payments.ts";
import { jobOf } from "./agent-work.ts";
import type { DemoCluster } from "./demo-cluster.ts";

const KILL_EVERY_MS = 2_000;
const LOOK_EVERY_MS = 20;
/** For a call to be under way somewhere. */
const AIM_MS_MAX = 3_000;
/** Calls that are looked at before each kill. */
const CALLS_LOOKED_AT_MAX = 8;
/** For the payment service to notice that nobody listens any more. */
const NOTICE_MS_MAX = 1_000;

export interface KillerPorts {
  readonly api: AgentApi;
  readonly cluster: DemoCluster;
  readonly payments: DemoPayments;
}

interface HeldCall {
  readonly page: BooksPage;
  readonly owner: string;
}

export class DemoKiller {
  kills = 0;
  killsInCall = 0;
  private readonly io: CliIo;
  private readonly ports: KillerPorts;
  private readonly random: Random;

  constructor(io: CliIo, ports: KillerPorts, random: Random) {
    this.io = io;
    this.ports = ports;
    this.random = random;
  }

  /** One kill after the other, until `isEnough`. */
  async work(isEnough: () => boolean): Promise<void> {
    while (!isEnough()) {
      const startMs = this.io.nowMs();
      await this.killOne();
      await this.io.sleep(Math.max(0, startMs + KILL_EVERY_MS - this.io.nowMs()));
    }
  }

  private async killOne(): Promise<void> {
    const { cluster } = this.ports;
    const isAimed = this.kills % 2 === 0;
    const held = isAimed ? await this.awaitCalls() : await this.callsUnderWay();
    const names = cluster.nodes.map(({ name }) => name);
    const victim = (isAimed ? this.pick(held)?.owner : undefined) ?? this.pick(names);
    if (victim === undefined) return;
    await cluster.kill(victim);
    this.kills += 1;
    if (await this.wasInCall(held.filter(({ owner }) => owner === victim))) this.killsInCall += 1;
    await cluster.start(victim);
  }

  private pick<T>(from: readonly T[]): T | undefined {
    return from.length === 0 ? undefined : from[this.random.below(from.length)];
  }

  private async awaitCalls(): Promise<readonly HeldCall[]> {
    const untilMs = this.io.nowMs() + AIM_MS_MAX;
    for (;;) {
      const calls = await this.stillHeld(await this.callsUnderWay());
      if (calls.length > 0 || this.io.nowMs() > untilMs) return calls;
      await this.io.sleep(LOOK_EVERY_MS);
    }
  }

  /** Calls that the payment service has not answered yet, with the nodes that made them. */
  private async callsUnderWay(): Promise<readonly HeldCall[]> {
    const { refunds } = await this.ports.payments.books();
    const held = refunds.filter((page) => page.held > 0).slice(-CALLS_LOOKED_AT_MAX);
    const calls = await Promise.all(held.map(async (page): Promise<readonly HeldCall[]> => {
      const { owner, tools } = await this.ports.api.ask(jobSchema, `${JOBS}/${jobOf(page.order)}`);
      const isGranted = tools.some(({ effectId, state }) => effectId === page.key && state === "granted");
      return isGranted && owner !== undefined ? [{ page, owner }] : [];
    }));
    return calls.flat();
  }

  /** Asking for the owners takes its time, too. */
  private async stillHeld(calls: readonly HeldCall[]): Promise<readonly HeldCall[]> {
    if (calls.length === 0) return calls;
    const { refunds } = await this.ports.payments.books();
    return calls.filter(({ page: { key } }) => refunds.some((page) => page.key === key && page.held > 0));
  }

  /** The payment service says so: whoever asked it is gone without waiting for the answer. */
  private async wasInCall(calls: readonly HeldCall[]): Promise<boolean> {
    if (calls.length === 0) return false;
    const untilMs = this.io.nowMs() + NOTICE_MS_MAX;
    for (;;) {
      const { refunds } = await this.ports.payments.books();
      const isHit = calls.some(({ page: { key, hungUp } }) =>
        refunds.some((page) => page.key === key && page.hungUp > hungUp));
      if (isHit || this.io.nowMs() > untilMs) return isHit;
      await this.io.sleep(LOOK_EVERY_MS);
    }
  }
}
