// Owns: small programs of agents, drawn at random: steps, tools, waits, branches, races and repetitions, and an agent
// that runs one and notes everything that its code sees.
import fc from "fast-check";
import { z } from "zod";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import type { Job, JobScope } from "../../src/sdk/job.ts";
import { defineSignal } from "../../src/sdk/signal.ts";
import { defineTool, notDone, type Tool, type ToolEffect } from "../../src/sdk/tool.ts";

export type Program =
  | { readonly kind: "step"; readonly isRead: boolean }
  | { readonly kind: "tool"; readonly effect: ToolEffect }
  | { readonly kind: "sleep" | "now" | "uuid" | "random" }
  | { readonly kind: "wait"; readonly hasTimeout: boolean }
  | { readonly kind: "seq" | "all" | "race"; readonly parts: readonly Program[] }
  | { readonly kind: "retry"; readonly part: Program };

const leaf: fc.Arbitrary<Program> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("step" as const), isRead: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("tool" as const),
      effect: fc.constantFrom("read" as const, "idempotent" as const, "once" as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("sleep" as const, "now" as const, "uuid" as const, "random" as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait" as const), hasTimeout: fc.boolean() }) },
);

export const programs: fc.Arbitrary<Program> = fc.letrec<{ program: Program }>((tie) => ({
  program: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    leaf,
    fc.record({
      kind: fc.constantFrom("seq" as const, "all" as const, "race" as const),
      parts: fc.array(tie("program"), { minLength: 1, maxLength: 4 }),
    }),
    fc.record({ kind: fc.constant("retry" as const), part: tie("program") }),
  ),
})).program;

/** What the code of one run sees and does, beside the log. */
export interface Observed {
  /** In the order in which it was seen. */
  readonly seen: string[];
  /** Functions of steps and tools that began and that nobody has ended yet. */
  readonly open: { readonly what: string; readonly end: (choice: number) => void }[];
  /** How often each began. */
  readonly begun: string[];
}

export const go = defineSignal("go", z.number());

export function observe(): Observed {
  return { seen: [], open: [], begun: [] };
}

/** The agent of a program; what it sees goes into `observed`. */
export function agentOf(program: Program, observed: Observed): Agent {
  const tool = (effect: ToolEffect) => defineTool({
    name: effect, input: z.number(), output: z.number(), effect,
    execute: async (at) => await outside(`${effect} ${at}`, observed),
    ...(effect === "once" ? { reconcile: () => ({ status: "unknown" as const }) } : {}),
  });
  const tools = { read: tool("read"), idempotent: tool("idempotent"), once: tool("once") };
  return defineAgent({
    name: "mini", input: z.void(), output: z.array(z.string()), tools,
    run: async (job) => {
      await play(program, { scope: job, job, observed, path: "p" });
      return [...observed.seen];
    },
  });
}

/** Something outside that ends when, and how, the test says. */
function outside(what: string, observed: Observed): Promise<number> {
  observed.begun.push(what);
  return new Promise((resolve, reject) => {
    observed.open.push({
      what,
      end: (choice) => {
        if (choice % 4 === 0) reject(new TypeError(`${what} failed ${choice}`));
        else if (choice % 4 === 1) reject(notDone(`${what} was not done`));
        else resolve(choice);
      },
    });
  });
}

interface Played {
  readonly scope: JobScope<ToolsOfPrograms>;
  readonly job: Job<ToolsOfPrograms>;
  readonly observed: Observed;
  /** Where in the program; also its number and name. */
  readonly path: string;
}

type ToolsOfPrograms = Readonly<Record<ToolEffect, Tool<string, z.ZodNumber, z.ZodNumber>>>;

async function play(program: Program, played: Played): Promise<void> {
  const { observed, path } = played;
  try {
    const value = await playOne(program, played);
    observed.seen.push(`${path}: ${JSON.stringify(value)}`);
  } catch (error) {
    observed.seen.push(`${path}! ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`);
    throw error;
  }
}

async function playOne(program: Program, played: Played): Promise<unknown> {
  const { scope, observed, path } = played;
  switch (program.kind) {
    case "step":
      return await scope.step(path, () => outside(path, observed), program.isRead ? { effect: "read" } : {});
    case "tool":
      return await scope.tools[program.effect](path.length, { key: path });
    case "sleep":
      await scope.sleep(path, 1_000);
      return "slept";
    case "now":
      return scope.now();
    case "uuid":
      return scope.uuid();
    case "random":
      return scope.random();
    case "wait":
      return (await scope.waitFor(go, program.hasTimeout ? { timeout: 500 } : {})) ?? "nothing";
    case "retry":
      return await retried(program.part, played);
    case "seq":
      for (const [at, part] of program.parts.entries()) await play(part, { ...played, path: `${path}.${at}` });
      return "seq";
    case "all":
      await scope.all(Object.fromEntries(program.parts.map((part, at) => {
        const name = `${path}.${at}`;
        const run = (branch: JobScope<ToolsOfPrograms>) => play(part, { ...played, scope: branch, path: name });
        return [name, run];
      })));
      return "all";
    case "race":
      await Promise.race(program.parts.map((part, at) => play(part, { ...played, path: `${path}.${at}` })));
      return "race";
  }
}

async function retried(part: Program, played: Played): Promise<string> {
  for (const attempt of [1, 2, 3]) {
    try {
      await play(part, { ...played, path: `${played.path}.r` });
      return `after ${attempt}`;
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
  return "never";
}
