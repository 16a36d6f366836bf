// Owns: the agent of the chaos runs: its code is its input, a program of steps, tools, waits and branches, so that one
// agent plays every program. What it saw, in which order, is what it answers.
import { z } from "zod";
import { defineAgent, defineSignal, defineTool, type JobScope, type Tool } from "../../../src/sdk/index.ts";

/** How the other side takes the first request of a call. Later ones are taken well. */
export const MODES = ["well", "slowly", "loses the answer", "throws", "refuses"] as const;
export type Mode = (typeof MODES)[number];

/** `look`: read; `twice`: idempotent; `once`, `far`: once with reconcile; `blind`: once without. */
export const TOOL_NAMES = ["look", "twice", "once", "far", "blind"] as const;
export type ToolName = (typeof TOOL_NAMES)[number];

export type Act =
  | { readonly act: "step"; readonly label: string; readonly isRead: boolean }
  | { readonly act: "tool"; readonly label: string; readonly tool: ToolName; readonly mode: Mode }
  | { readonly act: "sleep"; readonly label: string; readonly ms: number }
  | { readonly act: "wait"; readonly label: string; readonly timeoutMs: number | undefined }
  | { readonly act: "all"; readonly branches: readonly Program[] };
export type Program = readonly Act[];

/** What the code was given, in its order: the label of the call, and the value or the name of the error. */
export type Seen = readonly (readonly [label: string, value: unknown])[];

export const TOOL_TIMEOUT_MS = 2_000;
export const TOOL_SETTLE_MS = 3_000;
/** Less than the time after which it is believed that a call has not happened. */
export const FAR_MS_MAX = 2_500;

const toolInput = z.object({ label: z.string(), mode: z.enum(MODES) });
const receipt = z.string();

function toolOf(name: ToolName, effect: Tool["effect"], canReconcile: boolean) {
  const nobody = (): never => {
    throw new Error("the world of the run plays the other side");
  };
  return defineTool({
    name, effect, input: toolInput, output: receipt, timeoutMs: TOOL_TIMEOUT_MS, execute: nobody,
    ...(canReconcile && { reconcile: nobody, settleMs: TOOL_SETTLE_MS }),
  });
}

export const TOOLS = {
  look: toolOf("look", "read", false),
  twice: toolOf("twice", "idempotent", false),
  once: toolOf("once", "once", true),
  far: toolOf("far", "once", true),
  blind: toolOf("blind", "once", false),
};

export const told = defineSignal("told", z.string());

type Scope = JobScope<typeof TOOLS, never>;

/** Told when the function of a step begins, and what it is to answer. */
export type OnStep = (job: string, label: string) => string;

export function createPlayer(onStep: OnStep) {
  return defineAgent({
    name: "player",
    input: z.object({ program: z.custom<Program>() }),
    output: z.object({ seen: z.custom<Seen>() }),
    tools: TOOLS,
    signals: [told],
    run: async (job, { program }) => {
      const seen: [string, unknown][] = [];
      const note = (label: string, value: unknown): void => void seen.push([label, value]);
      await play(job, program, note, (label) => onStep(job.id, label));
      return { seen };
    },
  });
}

async function play(
  scope: Scope, program: Program, note: (label: string, value: unknown) => void,
  onStep: (label: string) => string,
): Promise<void> {
  for (const act of program) {
    if (act.act === "all") {
      const branches = act.branches.map((branch, index) =>
        [`b${index}`, (own: Scope) => play(own, branch, note, onStep)] as const);
      await scope.all(Object.fromEntries(branches));
    } else if (act.act === "step") {
      const { label, isRead } = act;
      note(label, await scope.step(label, () => onStep(label), isRead ? { effect: "read" } : {}));
    } else if (act.act === "sleep") {
      await scope.sleep(act.label, act.ms);
      note(act.label, null);
    } else if (act.act === "wait") {
      const { label, timeoutMs } = act;
      const value = await scope.waitFor(told, timeoutMs === undefined ? {} : { timeout: timeoutMs });
      note(label, value ?? null);
    } else {
      note(act.label, await callTool(scope, act));
    }
  }
}

/** A call that failed is something that the code saw, too. */
async function callTool(
  scope: Scope, { label, tool, mode }: Extract<Act, { readonly act: "tool" }>,
): Promise<unknown> {
  try {
    return await scope.tools[tool]({ label, mode }, { key: label });
  } catch (error) {
    if (error instanceof Error && error.name === "JobCancelled") throw error;
    return { failed: error instanceof Error ? error.message : String(error) };
  }
}
