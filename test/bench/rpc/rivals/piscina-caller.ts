// Owns: calls from a main thread into one worker of Piscina: one task at a time, and as many as are called at once.
// It is not a dependency: rivals.ts installs it where this program runs.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { answer, readTask, runLoops } from "./loops.ts";

interface Pool {
  run(input: unknown): Promise<unknown>;
  destroy(): Promise<void>;
}

interface PiscinaModule {
  readonly Piscina: new (options: Readonly<Record<string, unknown>>) => Pool;
}

const { Piscina } = createRequire(import.meta.url)("piscina") as PiscinaModule;
const filename = fileURLToPath(new URL("./piscina-worker.mjs", import.meta.url));
const { loops, text } = readTask();

async function measure(concurrentTasksPerWorker: number): Promise<unknown> {
  const pool = new Piscina({ filename, name: "echo", minThreads: 1, maxThreads: 1, concurrentTasksPerWorker });
  const results = await runLoops(loops, () => pool.run({ text }));
  await pool.destroy();
  return results;
}

const alone = await measure(1);
const together = await measure(Math.max(...loops.map(({ clients }) => clients)));
answer({ alone, together });
