// Owns: the story of the agents' demo: jobs that pay customers through a payment service which often does not answer,
// while nodes are killed one after the other, and books that are compared at the end. Everything is real.
import { join } from "node:path";
import { EXAMPLES } from "../../base/package-files-adapter.ts";
import { SeededRandom } from "../../base/random.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { CliIo } from "../cli-io.ts";
import { AgentApi } from "./agent-api.ts";
import { auditJobs } from "./agent-audit.ts";
import { DemoKiller } from "./agent-killer.ts";
import type { AgentDemoOptions } from "./agent-options.ts";
import { DemoPayments } from "./agent-payments.ts";
import { DemoPerson } from "./agent-person.ts";
import type { AgentFindings, AgentWants } from "./agent-verdict.ts";
import { DemoWork, WISHES } from "./agent-work.ts";
import { DemoCluster } from "./demo-cluster.ts";
import { NODE_COUNT } from "./demo-options.ts";
import { seconds } from "./demo-report.ts";
import { findFreePorts } from "./free-ports.ts";

const EXAMPLE = join(EXAMPLES, "03-refund-agent");
const SAY_EVERY_MS = 5 * SECOND_MS;
/** Jobs are started until nodes were killed for this part of the time, so that there are always some. */
const STARTING_SHARE = 0.9;
/** How long jobs may go on after the last kill. */
const REST_MS_MAX = 60 * SECOND_MS;
const LOOK_EVERY_MS = 500;
const STOP_MS = 5 * SECOND_MS;

interface Stage {
  readonly cluster: DemoCluster;
  readonly payments: DemoPayments;
}

export class AgentDemoRun {
  private readonly io: CliIo;
  private readonly options: AgentDemoOptions;
  private readonly random: SeededRandom;
  private cluster: DemoCluster | undefined;
  private payments: DemoPayments | undefined;

  constructor(io: CliIo, options: AgentDemoOptions) {
    this.io = io;
    this.options = options;
    this.random = new SeededRandom(options.seed);
  }

  get wants(): AgentWants {
    return { killsMin: this.options.kills, killsInCallMin: Math.ceil(this.options.kills / 2) };
  }

  /** Runs the whole story; the cluster is running afterwards. */
  async run(): Promise<AgentFindings> {
    const startMs = this.io.nowMs();
    const stage = await this.setUp();
    const api = new AgentApi(this.io, stage.cluster.apis);
    const work = new DemoWork(this.io, api, stage.payments.url);
    const killer = new DemoKiller(this.io, { api, ...stage }, this.random.fork("kills"));
    const person = new DemoPerson(this.io, api, stage.payments, this.options.seed);
    await this.play(work, killer, person);
    this.say("comparing every job and its log with the payment service's books");
    const books = await stage.payments.books();
    const { answers } = books;
    return {
      seed: this.options.seed,
      ...(await auditJobs(api, books, person.decisions)),
      answers: { done: answers.done, notDone: answers["not-done"], unknown: answers.unknown },
      kills: killer.kills,
      killsInCall: killer.killsInCall,
      tookMs: this.io.nowMs() - startMs,
    };
  }

  async stop(): Promise<void> {
    await this.cluster?.stopAll(STOP_MS);
    this.payments?.stop();
  }

  private async setUp(): Promise<Stage> {
    const { directory, seed } = this.options;
    const payments = await DemoPayments.start(this.io, seed);
    this.payments = payments;
    this.say(`a payment service at ${payments.url}: of ten refunds it pays three and does not say so`);
    for (const [order, fate] of WISHES) await payments.wish(order, fate);
    const firstPort = await findFreePorts(2 * NODE_COUNT, this.random.fork("ports"));
    const cluster = await DemoCluster.create(this.io, directory, firstPort, NODE_COUNT);
    this.cluster = cluster;
    this.say(`starting ${NODE_COUNT} nodes as processes of their own, fsync on, data in ${directory}`);
    await Promise.all(cluster.nodes.map((node) => cluster.start(node.name)));
    await cluster.awaitOnDuty();
    this.say("building the refund agent from source and pushing it into the cluster");
    await cluster.command("slice", "push", join(EXAMPLE, "agent"));
    await cluster.command("blueprint", "apply", join(EXAMPLE, "refunds.yaml"));
    return { cluster, payments };
  }

  private async play(work: DemoWork, killer: DemoKiller, person: DemoPerson): Promise<void> {
    const { jobs } = this.options;
    const startMs = this.io.nowMs();
    this.say(`starting ${jobs} jobs that tell customers and pay them, and killing a node every two seconds …`);
    let isOver = false;
    const people = person.work();
    const reports = this.report(work, killer, () => isOver);
    try {
      await Promise.all([
        work.startAll(jobs, () => this.shareDone(killer, this.io.nowMs() - startMs) / STARTING_SHARE),
        killer.work(() => this.shareDone(killer, this.io.nowMs() - startMs) >= 1),
      ]);
      this.say(`no more kills; ${seconds(REST_MS_MAX)} at most for the jobs that are left`);
      await this.awaitEnds(work, jobs);
    } finally {
      isOver = true;
      person.stop();
      await Promise.all([people, reports]);
    }
  }

  /** Of the killing: it goes on for its time, and for as long again at most while there were too few kills. */
  private shareDone({ kills, killsInCall }: DemoKiller, sinceMs: number): number {
    const time = sinceMs / (this.options.seconds * SECOND_MS);
    const { killsMin, killsInCallMin } = this.wants;
    return Math.max(time / 2, Math.min(time, shareOf(kills, killsMin), shareOf(killsInCall, killsInCallMin)));
  }

  private async awaitEnds(work: DemoWork, jobs: number): Promise<void> {
    const untilMs = this.io.nowMs() + REST_MS_MAX;
    while ((await work.progress()).ended < jobs && this.io.nowMs() < untilMs) await this.io.sleep(LOOK_EVERY_MS);
  }

  private async report(work: DemoWork, killer: DemoKiller, isOver: () => boolean): Promise<void> {
    const startMs = this.io.nowMs();
    for (let saidMs = startMs; !isOver(); await this.io.sleep(LOOK_EVERY_MS)) {
      const nowMs = this.io.nowMs();
      if (nowMs - saidMs < SAY_EVERY_MS) continue;
      saidMs = nowMs;
      const { started, completed } = await work.progress();
      const { kills, killsInCall } = killer;
      const time = `${Math.round((nowMs - startMs) / SECOND_MS)} s`.padStart(6);
      this.say(`${time}: ${completed} of ${started} jobs completed; ${kills} kills, ${killsInCall} in a refund`);
    }
  }

  private say(text: string): void {
    this.io.print(text);
  }
}

function shareOf(part: number, whole: number): number {
  return whole === 0 ? 1 : part / whole;
}
