// Owns: what a program beside Aether is told and what it answers: the same loops, by its arguments and one line.
import { runClosedLoop, type LoopOptions, type LoopRequest, type LoopResult } from "../../closed-loop.ts";

/** What a program is started with, as JSON. */
export interface RivalTask {
  readonly loops: readonly LoopOptions[];
  readonly text: string;
  /** Addresses of the two nodes, where there are two. */
  readonly urls: readonly string[];
}

export function readTask(): RivalTask {
  return JSON.parse(process.argv[2] ?? "") as RivalTask;
}

export async function runLoops(loops: readonly LoopOptions[], request: LoopRequest): Promise<readonly LoopResult[]> {
  const results: LoopResult[] = [];
  for (const loop of loops) results.push(await runClosedLoop(loop, request));
  return results;
}

/** The only line that it prints. */
export function answer(results: unknown): void {
  console.log(JSON.stringify(results));
}
