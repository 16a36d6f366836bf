// Owns: all runs of one worker: which there are, and which of them a message is for.
import { AetherError } from "../../base/errors.ts";
import type { Clock } from "../../env/clock.ts";
import type { OpenExtension, RuntimeExtension } from "../../slices/worker/worker-runtime.ts";
import { FenceReader, type ThreadsClock } from "../ownership/fence-cell.ts";
import { redactValue } from "../core/tools/redact.ts";
import type { FromAgent, RunNumber, RunStart, SecretValues, ToAgent } from "../core/worker/messages.ts";
import type { WorkerBoot } from "../../slices/core/worker-protocol.ts";
import { parseAgents, type AgentModule } from "./agent-module.ts";
import { AgentRun, type AgentRunPorts } from "./agent-run.ts";
import { isToPayloads, type ToPayloads } from "./large-payloads.ts";
import { JobApi } from "./job-api.ts";
import { jobErrorOf } from "./payload.ts";
import { reconcile } from "./tool-runner.ts";

interface Running {
  readonly agent: AgentModule;
  readonly run: AgentRun;
}

/** What a worker of agents has of its thread. */
export interface AgentThread {
  readonly boot: Pick<WorkerBoot, "fence">;
  readonly clock: Pick<Clock, "wallMs" | "setTimer" | "nextTurn">;
  threadsNowMs: ThreadsClock;
}

export function openAgents({ boot, clock, threadsNowMs }: AgentThread): OpenExtension {
  const fence = boot.fence === undefined ? undefined : new FenceReader(boot.fence, threadsNowMs);
  // Without a fence nothing tells who owns a job: then nothing reaches the world.
  const mayAct = (number: number): boolean => fence?.mayAct(number) ?? false;
  const time: AgentThread["clock"] = {
    wallMs: () => fence?.wallMs() ?? clock.wallMs(),
    setTimer: (delayMs, fire) => clock.setTimer(delayMs, fire),
    nextTurn: (fire) => clock.nextTurn(fire),
  };
  return (post) => new AgentRuntime({ clock: time, mayAct, post });
}

export class AgentRuntime implements RuntimeExtension {
  private readonly ports: AgentRunPorts;
  private readonly runs = new Map<RunNumber, Running>();
  private readonly holders = new Map<RunNumber, AgentRun>();
  private agents: ReadonlyMap<string, AgentModule> = new Map();
  /** All that calls were given so far. */
  private secrets: SecretValues = {};

  constructor(ports: Omit<AgentRunPorts, "redact">) {
    const redact = <T>(value: T): T => redactValue(value, this.secrets);
    // Whatever leaves the worker is free of the secrets that came in.
    this.ports = { ...ports, redact, post: (message) => ports.post(redact(message)) };
  }

  load(slice: unknown): void {
    this.agents = parseAgents(slice);
  }

  receive(payload: unknown): void {
    // Our own node says so.
    const message = payload as ToAgent;
    if (message.kind === "start") return this.start(message.run, message.start);
    if ("secrets" in message) this.secrets = { ...this.secrets, ...message.secrets };
    if (message.kind === "drop") this.holders.delete(message.run);
    if (isToPayloads(message)) return this.receivePayload(message);
    const running = this.runs.get(message.run);
    // It has ended, which the node does not know yet.
    if (running === undefined) return;
    if (message.kind === "reconcile") void this.reconcile(running, message);
    else running.run.receive(message);
  }

  /** Its runs are there until the node drops them: what they made may have to be fetched after their code has ended. */
  private receivePayload(message: ToPayloads): void {
    this.holders.get(message.run)?.receivePayload(message);
  }

  private start(number: RunNumber, start: RunStart): void {
    try {
      const agent = this.agents.get(start.agent);
      if (agent === undefined) throw new AetherError("E_NOT_FOUND", `this package has no agent "${start.agent}"`);
      const run = new AgentRun(this.ports, { agent, run: number, start, onOver: () => this.runs.delete(number) });
      this.runs.set(number, { agent, run });
      this.holders.set(number, run);
      run.begin(new JobApi(run, agent, start).createJob());
    } catch (thrown) {
      this.ports.post({ kind: "diverged", run: number, error: jobErrorOf(thrown) });
    }
  }

  private async reconcile(
    { agent, run: code }: Running,
    { run, call, tool: name, effectId, input: told, isApart, secrets = {} }:
    Extract<ToAgent, { readonly kind: "reconcile" }>,
  ): Promise<void> {
    const input = isApart === true ? code.inputOf(call) : told;
    const tool = [...agent.tools.values()].find((one) => one.name === name);
    const answer = tool === undefined
      ? { kind: "unknown", reason: `the agent ${agent.name} has no tool ${name}` } as const
      : await reconcile(tool, { input, effectId, secrets }, this.ports.clock);
    const message: FromAgent = { kind: "reconciled", run, call, effectId, answer };
    if (this.runs.has(run)) this.ports.post(message);
  }
}
