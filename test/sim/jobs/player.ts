// Owns: the agent of the chaos runs: its code is its input, programs of steps, tools, waits, children and branches, one
// for each of its runs, so that one agent plays every program. What it saw, in which order, is what it answers.
import { z } from "zod";
import { AetherError } from "../../../src/base/errors.ts";
import {
  defineAgent, defineSignal, defineTool, isChildFailed,
  type AgentSchedule, type Budget, type JobScope, type LlmProvider, type Tool,
} from "../../../src/sdk/index.ts";

/**
 * How the other side takes the first request of a call. Later ones are taken well. `is undone`: it does it, and whoever
 * looks later finds it undone.
 */
export const MODES = ["well", "slowly", "loses the answer", "throws", "refuses", "is undone"] as const;
export type Mode = (typeof MODES)[number];

/**
 * `look`: read, with a rate; `twice`: idempotent; `once`, `far`: once with reconcile; `blind`: once without; `asked`:
 * once, when a person allows it. `once`, `far` and `twice` are looked at when a job is taken over.
 */
export const TOOL_NAMES = ["look", "twice", "once", "far", "blind", "asked"] as const;
export type ToolName = (typeof TOOL_NAMES)[number];

export type Act =
  | { readonly act: "step"; readonly label: string; readonly isRead: boolean; readonly isLarge?: true }
  | { readonly act: "tool"; readonly label: string; readonly tool: ToolName; readonly mode: Mode }
  | { readonly act: "model"; readonly label: string; readonly isBusy: boolean }
  | { readonly act: "now" }
  | { readonly act: "sleep"; readonly label: string; readonly ms: number }
  | { readonly act: "wait"; readonly label: string; readonly timeoutMs: number | undefined }
  | { readonly act: "approve"; readonly label: string; readonly timeoutMs: number | undefined }
  | {
    readonly act: "child";
    readonly label: string;
    readonly programs: readonly Program[];
    readonly isDetached: boolean;
    readonly timeoutMs: number | undefined;
    readonly budget: Budget | undefined;
  }
  /** The job fails. */
  | { readonly act: "fail" }
  | { readonly act: "all"; readonly branches: readonly Program[] };
export type Program = readonly Act[];

/** What the code was given, in its order: the label of the call, and the value or what the error says. */
export type Seen = readonly (readonly [label: string, value: unknown])[];

export const PLAYER = "player";
export const TOOL_TIMEOUT_MS = 2_000;
export const TOOL_SETTLE_MS = 3_000;
/** Less than the time after which it is believed that a call has not happened. */
export const FAR_MS_MAX = 2_500;
/** What each call of a tool costs, of those that cost anything. */
export const COST_USD: Readonly<Partial<Record<ToolName, number>>> = { once: 0.3, look: 0.1, twice: 0.2 };
export const LOOKS = { perSecond: 4, burst: 2 } as const;
/** Jobs of the agent that run at once. */
export const RUNNING_MAX = 3;
/** Of the model. */
export const MODEL_TOKENS = { perSecond: 15, burst: 900 } as const;
/** Of one answer, at least. */
export const MODEL_TOKENS_USED = 30;
/** More than what stays in a log. */
const LARGE_LENGTH = 70_000;
export const BALLAST = ".".repeat(LARGE_LENGTH);
const MODEL_TOKENS_MAX = 100;

const toolInput = z.object({ label: z.string(), mode: z.enum(MODES) });
const receipt = z.string();

type Details = Pick<Tool, "effect"> & Partial<Pick<Tool, "approval" | "rate">> & {
  readonly canReconcile?: true;
  readonly onMismatch?: "strict" | "warn" | "human";
};

function toolOf(name: ToolName, { canReconcile, onMismatch, ...details }: Details) {
  const nobody = (): never => {
    throw new Error("the world of the run plays the other side");
  };
  const usd = COST_USD[name];
  return defineTool({
    name, ...details, input: toolInput, output: receipt, timeoutMs: TOOL_TIMEOUT_MS, execute: nobody,
    ...(usd !== undefined && { cost: { usd } }),
    ...(canReconcile && { reconcile: nobody, settleMs: TOOL_SETTLE_MS }),
    ...(onMismatch && { verify: { onMismatch, check: nobody } }),
  });
}

export const TOOLS = {
  look: toolOf("look", { effect: "read", rate: LOOKS }),
  twice: toolOf("twice", { effect: "idempotent", onMismatch: "human" }),
  once: toolOf("once", { effect: "once", canReconcile: true, onMismatch: "warn" }),
  far: toolOf("far", { effect: "once", canReconcile: true, onMismatch: "strict" }),
  blind: toolOf("blind", { effect: "once" }),
  asked: toolOf("asked", { effect: "once", canReconcile: true, approval: true }),
};

export const told = defineSignal("told", z.string());

/** When jobs of it start by themselves. */
export type Schedules = Readonly<Record<string, AgentSchedule<{ programs: Program[] }>>>;

type Scope = JobScope<typeof TOOLS, "model">;

/** What the world of the run hears of the code, and has to say to it. */
export interface PlayerHooks {
  /** The function of a step begins; what it is to answer. */
  onStep(job: string, label: string): string;
  /** A model is asked. */
  onModel(effectId: string): void;
  /** Of virtual time. */
  sleep(delayMs: number): Promise<void>;
}

const input = z.object({
  programs: z.array(z.custom<Program>()),
  seen: z.custom<Seen>().default([]),
  /** Comes back in the output. */
  ballast: z.string().exactOptional(),
});

export function createPlayer(hooks: PlayerHooks, schedules: Schedules = {}) {
  return defineAgent({
    name: PLAYER,
    input,
    output: z.object({ seen: z.custom<Seen>(), ballast: z.string().exactOptional() }),
    tools: TOOLS,
    models: { model: createModel(hooks) },
    signals: [told],
    concurrency: RUNNING_MAX,
    schedules,
    run: async (job, { programs: [program = [], ...programs], seen: before, ballast }) => {
      const kept = ballast === undefined ? {} : { ballast };
      const seen = [...before];
      const note = (label: string, value: unknown): void => void seen.push([label, value]);
      await play(job, program, note, (label) => hooks.onStep(job.id, label));
      return programs.length === 0 ? { seen, ...kept } : await job.continueAs({ programs, seen, ...kept });
    },
  });
}

/** Where the question says so it is busy in about every other call. */
function createModel({ onModel, sleep }: PlayerHooks): LlmProvider {
  return {
    model: "simulated", maxTokens: MODEL_TOKENS_MAX, price: { inputPerMillion: 1_000, outputPerMillion: 2_000 },
    limits: { requestsPerMinute: 300, tokensPerMinute: MODEL_TOKENS.burst },
    complete: async ({ messages }, context) => {
      const [message] = messages;
      const text = message?.role === "user" ? message.text : "";
      context.assertOwner();
      onModel(context.effectId);
      await sleep(20);
      const isBusy = text.startsWith("busy ") && context.effectId < "8";
      if (isBusy) throw new AetherError("E_OVERLOADED", "the model is busy");
      return { text: `about ${text}`, finish: "stop", usage: { inputTokens: 10, outputTokens: 20 } };
    },
  };
}

/** What is one call that has a label. */
type CallAct = Exclude<Act, { readonly act: "all" | "now" | "fail" }>;
type Note = (label: string, value: unknown) => void;

async function play(
  scope: Scope, program: Program, note: Note, onStep: (label: string) => string,
): Promise<void> {
  for (const act of program) {
    if (act.act === "all") {
      const branches = act.branches.map((branch, index) =>
        [`b${index}`, (own: Scope) => play(own, branch, note, onStep)] as const);
      await scope.all(Object.fromEntries(branches));
    } else if (act.act === "now") note("now", scope.now());
    else if (act.act === "fail") throw new Error("so says its program");
    else note(act.label, await playOne(scope, act, onStep));
  }
}

/** A call that failed is something that the code saw, too. */
async function playOne(
  scope: Scope, act: CallAct, onStep: (label: string) => string,
): Promise<unknown> {
  try {
    return await callOne(scope, act, onStep);
  } catch (error) {
    if (error instanceof Error && error.name === "JobCancelled") throw error;
    return { failed: error instanceof Error ? error.message : String(error), isChild: isChildFailed(error) };
  }
}

async function callOne(
  scope: Scope, act: CallAct, onStep: (label: string) => string,
): Promise<unknown> {
  const { label } = act;
  switch (act.act) {
    case "step": {
      const run = (): string => (act.isLarge ? onStep(label).padEnd(LARGE_LENGTH, ".") : onStep(label));
      return shortOf(await scope.step(label, run, act.isRead ? { effect: "read" } : {}));
    }
    case "tool":
      return await scope.tools[act.tool]({ label, mode: act.mode }, { key: label });
    case "model": {
      const prompt = act.isBusy ? `busy ${label}` : label;
      return (await scope.llm("model", { prompt, key: label })).text;
    }
    case "sleep":
      await scope.sleep(label, act.ms);
      return null;
    case "wait":
      return await scope.waitFor(told, timeoutOf(act)) ?? null;
    case "approve":
      return { ...await scope.approve(label, { summary: `May ${label} be?`, data: { label }, ...timeoutOf(act) }) };
    case "child":
      return await callChild(scope, act);
  }
}

async function callChild(scope: Scope, act: Extract<Act, { readonly act: "child" }>): Promise<unknown> {
  const { label: name, programs, isDetached, budget } = act;
  const limited = budget === undefined ? {} : { budget };
  return isDetached
    ? await scope.child(PLAYER, { programs }, { name, detached: true, ...limited })
    : await scope.child(PLAYER, { programs }, { name, ...timeoutOf(act), ...limited });
}

function timeoutOf({ timeoutMs }: { readonly timeoutMs: number | undefined }): { readonly timeout?: number } {
  return timeoutMs === undefined ? {} : { timeout: timeoutMs };
}

/** What stands in a log only by its digest is shown by its beginning. */
export function shortOf(text: string): string {
  return text.length < LARGE_LENGTH ? text : text.slice(0, text.indexOf("."));
}
