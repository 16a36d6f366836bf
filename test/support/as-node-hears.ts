// Owns: what a node hears of a message of an agent's worker: a copy, and of that what its door lets in.
import { readFromAgent } from "../../src/jobs/core/worker/agent-content.ts";
import type { FromAgent } from "../../src/jobs/core/worker/messages.ts";

export function asNodeHears(message: FromAgent): FromAgent {
  const heard = readFromAgent(structuredClone(message));
  if (heard === undefined) throw new RangeError(`no node reads what the worker says: ${JSON.stringify(message)}`);
  return heard;
}
