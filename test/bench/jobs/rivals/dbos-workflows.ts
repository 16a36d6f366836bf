// Owns: the workflow beside Aether's agents: the same steps, in DBOS, started within its own process. It is not a
// dependency: rivals.ts installs it where this program runs. Prints one line: the results of its loops.
import { runClosedLoop, type LoopOptions, type LoopResult } from "../../closed-loop.ts";

/** What it is started with, as JSON. */
export interface DbosTask {
  readonly database: string;
  readonly steps: number;
  readonly loops: readonly LoopOptions[];
}

type Workflow = (input: { readonly steps: number }) => Promise<{ readonly sum: number }>;

interface Dbos {
  registerWorkflow(workflow: Workflow, options: { readonly name: string }): Workflow;
  runStep<T>(action: () => Promise<T>, options: { readonly name: string }): Promise<T>;
  setConfig(config: Readonly<Record<string, unknown>>): void;
  launch(): Promise<void>;
  shutdown(): Promise<void>;
  startWorkflow(workflow: Workflow): (input: { readonly steps: number }) => Promise<{
    getResult(): Promise<{ readonly sum: number }>;
  }>;
}

// By a variable: the compiler has nothing of that name.
const name: string = "@dbos-inc/dbos-sdk";
const { DBOS } = (await import(name)) as { readonly DBOS: Dbos };
const { database, steps, loops } = JSON.parse(process.argv[2] ?? "") as DbosTask;

const workflow = DBOS.registerWorkflow(async ({ steps: count }) => {
  let sum = 0;
  for (let at = 1; at <= count; at++) sum += await DBOS.runStep(async () => at, { name: `step ${at}` });
  return { sum };
}, { name: "steps" });

DBOS.setConfig({ name: "bench", systemDatabaseUrl: database, logLevel: "error", runAdminServer: false });
await DBOS.launch();
const results: LoopResult[] = [];
for (const loop of loops) {
  results.push(await runClosedLoop(loop, async () => {
    const handle = await DBOS.startWorkflow(workflow)({ steps });
    const { sum } = await handle.getResult();
    if (sum !== (steps * (steps + 1)) / 2) throw new RangeError(`a workflow answered ${sum}`);
  }));
}
console.log(JSON.stringify(results));
await DBOS.shutdown();
