// Owns: the calls of tools that a model's stream names piece by piece, cut anywhere.
import { parseJson } from "../http/answers.ts";
import type { LlmToolCall } from "../llm.ts";

export interface ToolCallPiece {
  /** Which call it is of; some servers leave it out. */
  readonly index?: number | undefined;
  readonly id: string;
  readonly name: string;
  /** Part of the input as JSON. */
  readonly json: string;
}

interface Call {
  readonly index: number | undefined;
  id: string;
  name: string;
  json: string;
}

export class ToolCallPieces {
  private readonly calls: Call[] = [];

  add({ index, id, name, json }: ToolCallPiece): void {
    const call = this.find(index, id);
    if (call === undefined) {
      this.calls.push({ index, id, name, json });
      return;
    }
    if (call.id === "") call.id = id;
    if (call.name === "") call.name = name;
    call.json += json;
  }

  /** Input that is no JSON stays the text that it is: the agent's schema refuses it. */
  all(): readonly LlmToolCall[] {
    return this.calls.map(({ id, name, json }, at) => ({
      id: id === "" ? `call-${at + 1}` : id, name, input: json.trim() === "" ? {} : (parseJson(json) ?? json),
    }));
  }

  private find(index: number | undefined, id: string): Call | undefined {
    if (index !== undefined) return this.calls.find((call) => call.index === index);
    // Without an index, what has an id begins another call.
    return id === "" ? this.calls.at(-1) : this.calls.find((call) => call.id === id);
  }
}
