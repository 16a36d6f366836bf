// Owns: the `job` that the code of an agent gets: the names of its calls, and what may go into one.
// Does not own: what becomes of a call (agent-run.ts).
import { AetherError } from "../../base/errors.ts";
import { checkBudget, type Budget } from "../../sdk/budget.ts";
import type { ChildOptions } from "../../sdk/child.ts";
import { parseDuration, type Duration } from "../../sdk/duration.ts";
import type {
  Approval, ApprovalOptions, StepContext, StepOptions, ToolCallOptions, WaitOptions,
} from "../../sdk/job.ts";
import { nameSchema } from "../../sdk/name.ts";
import type { SchemaShape } from "../../slices/worker/slice-module.ts";
import type { Amount } from "../core/budget/account.ts";
import { amountOf } from "../core/budget/amounts.ts";
import type { CallName } from "../core/ids.ts";
import { digestOfPlain } from "../core/plain-digest.ts";
import { TOOL_APPROVAL } from "../core/flow/approval-row.ts";
import { CallNames, scopeOfRun, type CallPlace } from "../core/worker/call-names.ts";
import { randomOf, uuidOf } from "../core/worker/derived-values.ts";
import type { RunStart } from "../core/worker/messages.ts";
import { isSchema, type AgentModule, type ToolModule } from "./agent-module.ts";
import type { AgentRun } from "./agent-run.ts";
import type { ApprovalQuestion, Asked } from "./given.ts";
import { questionOf, rejection, toolQuestionOf } from "./approval-question.ts";
import { askModel, type LlmPorts } from "./llm-call.ts";
import { checkNow, largePayloadOf, payloadFor } from "./payload.ts";

type AnyChildOptions = ChildOptions & { readonly detached?: boolean };
type Branches = Readonly<Record<string, (branch: unknown) => unknown>>;

export class JobApi {
  private readonly run: AgentRun;
  private readonly agent: AgentModule;
  private readonly start: RunStart;
  private readonly names = new CallNames();

  constructor(run: AgentRun, agent: AgentModule, start: RunStart) {
    this.run = run;
    this.agent = agent;
    this.start = start;
  }

  /** What `run` of the agent gets. */
  createJob(): Readonly<Record<string, unknown>> {
    const { run } = this;
    const scope = this.createScope(scopeOfRun(this.start.jobRun ?? 1));
    return {
      ...scope, id: this.start.job, signal: run.signal, emit: (data: unknown) => run.emit(data),
      continueAs: (input: unknown) => this.continueAs(input),
    };
  }

  private createScope(scope: string): Readonly<Record<string, unknown>> {
    const tools = [...this.agent.tools].map(([alias, tool]): [string, unknown] =>
      [alias, (input: unknown, options: ToolCallOptions = {}) => this.callTool(scope, tool, { input, options })]);
    return {
      tools: Object.fromEntries(tools),
      llm: (model: unknown, call: unknown) => askModel(this.llmPorts(scope), this.agent, { model, call }),
      step: (name: string, body: unknown, options: StepOptions = {}) => this.step({ scope, name }, body, options),
      sleep: (name: string, duration: Duration) => this.sleep({ scope, name }, duration),
      waitFor: (signal: unknown, options: WaitOptions = {}) => this.waitFor(scope, signal, options),
      child: (agent: unknown, input: unknown, options: AnyChildOptions = {}) =>
        this.child(scope, { agent, input, options }),
      approve: (name: string, options: ApprovalOptions) => this.approve({ scope, name }, options),
      now: () => this.run.now(this.pass({ scope, name: "now" })),
      random: () => randomOf(this.start.uid, this.pass({ scope, name: "random" })),
      uuid: () => uuidOf(this.start.uid, this.pass({ scope, name: "uuid" })),
      all: (branches: Branches) => this.all(scope, branches),
    };
  }

  private async continueAs(raw: unknown): Promise<never> {
    this.requireOutside();
    const { name, input: schema } = this.agent;
    const checked = checkNow(schema, raw);
    if (checked.kind === "invalid") throw refused(`the agent ${name} cannot continue with this input: ${checked.text}`);
    const payload = payloadFor(schema, checked.data, raw);
    if (payload.kind === "refused") {
      throw new AetherError(payload.code, `the input of continueAs is ${payload.text}`);
    }
    // A job has some input.
    const input = payload.value ?? null;
    return await this.run.continueAs({ input, inputDigest: digestOfPlain(input) }, payload.bytes);
  }

  private step(place: CallPlace, body: unknown, { effect }: StepOptions): Promise<unknown> {
    return this.ask(place, () => {
      if (!isStepBody(body)) throw refused(`the step "${place.name}" has no function`);
      if (effect !== undefined && effect !== "read") {
        throw refused(`the step "${place.name}" has the effect "${String(effect)}": leave it out, make it "read", or ` +
          "make it a tool");
      }
      return (call) => ({ kind: "step", call, isRead: effect === "read", run: body });
    });
  }

  private sleep(place: CallPlace, duration: Duration): Promise<unknown> {
    return this.ask(place, () => {
      const durationMs = parseDuration(duration);
      return (call) => ({ kind: "sleep", call, durationMs });
    });
  }

  private waitFor(scope: string, signal: unknown, { timeout }: WaitOptions): Promise<unknown> {
    const { name, payload } = signalOf(signal);
    return this.ask({ scope, name }, () => {
      if (!isSchema(payload)) throw refused("it waits for what is no signal: make signals with defineSignal");
      const timeoutMs = timeout === undefined ? undefined : parseDuration(timeout);
      return (call) => ({ kind: "signal", call, signal: name, payload, timeoutMs });
    });
  }

  private approve(place: CallPlace, options: ApprovalOptions): Promise<unknown> {
    return this.ask(place, () => {
      const question = questionOf({ name: place.name, ...options });
      return (call) => ({ kind: "approval", call, ...question });
    });
  }

  private child(
    scope: string,
    { agent: wanted, input: raw, options: { name, key, timeout, detached, budget } }: {
      readonly agent: unknown; readonly input: unknown; readonly options: AnyChildOptions;
    },
  ): Promise<unknown> {
    const { name: agent, input: schema, output } = agentOf(wanted);
    return this.ask({ scope, name: name ?? agent, key }, () => {
      if (!nameSchema.safeParse(agent).success) {
        throw refused("it starts a child of no agent: give what defineAgent gave, or the agent's name");
      }
      const isDetached = detached === true;
      if (isDetached && timeout !== undefined) {
        throw refused(`it does not wait for the child of "${agent}": leave out the timeout, or detached`);
      }
      const { value: input, bytes: inputBytes } = this.childInput(agent, schema, raw);
      const timeoutMs = timeout === undefined ? undefined : parseDuration(timeout);
      const inputDigest = digestOfPlain(input);
      const amount = childBudget(agent, budget);
      return (call) => ({
        kind: "child", call, agent, output, input, inputBytes, inputDigest, isDetached, timeoutMs, budget: amount,
      });
    });
  }

  /** As the child gets it. */
  private childInput(
    agent: string, schema: SchemaShape | undefined, raw: unknown,
  ): { readonly value: unknown; readonly bytes: number } {
    const what = `the input of the child of the agent "${agent}" is`;
    const checked = schema === undefined ? undefined : checkNow(schema, raw);
    if (checked?.kind === "invalid") throw refused(`${what} invalid: ${checked.text}`);
    const payload = schema === undefined || checked === undefined
      ? largePayloadOf(raw)
      : payloadFor(schema, checked.data, raw);
    if (payload.kind === "refused") throw new AetherError(payload.code, `${what} ${payload.text}`);
    // A job has some input.
    return { value: payload.value ?? null, bytes: payload.bytes };
  }

  private callTool(
    scope: string, tool: ToolModule,
    { input: raw, options }: { readonly input: unknown; readonly options: ToolCallOptions },
  ): Promise<unknown> {
    return this.begin({ scope, name: tool.name, key: options.key }, () => {
      const checked = checkNow(tool.input, raw);
      if (checked.kind === "invalid") throw refused(`the input of the tool ${tool.name} is invalid: ${checked.text}`);
      const { data } = checked;
      const payload = payloadFor(tool.input, data, raw);
      if (payload.kind === "refused") {
        throw new AetherError(payload.code, `the input of the tool ${tool.name} is ${payload.text}`);
      }
      const { value: input, bytes: inputBytes } = payload;
      const inputDigest = digestOfPlain(input);
      const question = toolQuestionOf(tool, { data, input });
      const begin = (call: CallName): Promise<unknown> =>
        this.run.ask({ kind: "tool", call, tool, data, input, inputBytes, inputDigest });
      return question === undefined ? begin : (call) => this.allowed(call, question, () => begin(call));
    });
  }

  /** Asks a person before a call of a tool is made, under a name within that call. */
  private async allowed(call: CallName, question: ApprovalQuestion, begin: () => Promise<unknown>): Promise<unknown> {
    const place = { scope: call, name: TOOL_APPROVAL };
    // A decision is all that an approval is ever given.
    const decided = await this.ask(place, () => (inner) => ({ kind: "approval", call: inner, ...question }));
    const approval = decided as Approval;
    if (!approval.approved) throw rejection(question.name, approval);
    return await begin();
  }

  private llmPorts(scope: string): LlmPorts {
    const { limited = [] } = this.start;
    return {
      isLimited: limited.includes("usdMicros") || limited.includes("tokens"),
      ask: (place, createAsked) => this.ask({ scope, ...place }, () => createAsked),
      askLater: (first, name, createAsked) => this.ask({ scope: first, name }, () => createAsked),
    };
  }

  private async all(scope: string, branches: Branches): Promise<Readonly<Record<string, unknown>>> {
    this.requireOutside();
    const named = Object.entries(branches).map(([name, branch]): readonly [string, CallName, typeof branch] =>
      [name, this.names.begin({ scope, name }), branch]);
    const ended = await Promise.all(named.map(async ([name, call, branch]): Promise<[string, unknown]> => {
      try {
        return [name, await branch(this.createScope(call))];
      } finally {
        this.names.end(call);
      }
    }));
    return Object.fromEntries(ended);
  }

  private ask(place: CallPlace, check: () => (call: CallName) => Asked): Promise<unknown> {
    return this.begin(place, () => {
      const createAsked = check();
      return (call) => this.run.ask(createAsked(call));
    });
  }

  /** Never throws: what is wrong with a call its promise says. */
  private begin(place: CallPlace, check: () => (call: CallName) => Promise<unknown>): Promise<unknown> {
    try {
      this.requireOutside();
      const begin = check();
      const call = this.names.begin(place);
      const given = begin(call);
      const end = (): void => this.names.end(call);
      given.then(end, end);
      return given;
    } catch (error) {
      const failed = Promise.reject(error);
      // ignored: code that does not wait for its own call does not hear of it, and the worker lives on.
      failed.catch(() => undefined);
      return failed;
    }
  }

  private pass(place: CallPlace): CallName {
    this.requireOutside();
    return this.names.pass(place);
  }

  private requireOutside(): void {
    if (this.run.isInsideStep) throw refused("it calls job.… inside of a step: steps run once, and what they call too");
  }
}

/** @throws AetherError E_INVALID */
function childBudget(agent: string, budget: Budget | undefined): Amount | undefined {
  checkBudget(`the child of the agent "${agent}"`, budget);
  return budget && amountOf(budget);
}

function isStepBody(body: unknown): body is (context: StepContext) => unknown {
  return typeof body === "function";
}

/** A definition, or a name. */
function agentOf(agent: unknown): {
  readonly name: string; readonly input: SchemaShape | undefined; readonly output: SchemaShape | undefined;
} {
  if (typeof agent === "string") return { name: agent, input: undefined, output: undefined };
  const shape = typeof agent === "object" && agent !== null ? (agent as Readonly<Record<string, unknown>>) : {};
  const { name, input, output } = shape;
  return {
    name: typeof name === "string" ? name : "",
    input: isSchema(input) ? input : undefined,
    output: isSchema(output) ? output : undefined,
  };
}

function signalOf(signal: unknown): { readonly name: string; readonly payload: unknown } {
  const shape = typeof signal === "object" && signal !== null ? (signal as Readonly<Record<string, unknown>>) : {};
  return { name: typeof shape["name"] === "string" ? shape["name"] : "signal", payload: shape["payload"] };
}

function refused(reason: string): AetherError {
  return new AetherError("E_INVALID", `the code of the agent cannot go on: ${reason}`);
}
