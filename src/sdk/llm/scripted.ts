// Owns: a model that answers what its script says: for tests and examples, the same each time and at once.
import { AetherError } from "../../base/errors.ts";
import type { LlmCompletion, LlmProvider, LlmRequest, LlmTerms } from "../llm.ts";
import { termsOf } from "./terms.ts";

/** A text, data that the answer is the JSON of, or a completion of which parts may be left out. */
export type ScriptedAnswer = string | { readonly json: unknown } | Partial<Omit<LlmCompletion, "model">>;

/**
 * Which answer a request gets: the one of the list that belongs to the turn of its conversation (the first while it has
 * no message of the model yet), or what a function makes of it. What the function throws is what the model fails with.
 */
export type Script = readonly ScriptedAnswer[] | ((request: LlmRequest) => ScriptedAnswer | Promise<ScriptedAnswer>);

export interface ScriptedOptions extends LlmTerms {
  readonly model?: string;
}

/**
 * A model by a script. It knows nothing but the request, so that it answers alike on every node.
 * @example
 * const judge = scripted((request) => (/broken/.test(JSON.stringify(request)) ? "refund" : "decline"));
 */
export function scripted(script: Script, { model = "scripted", ...terms }: ScriptedOptions = {}): LlmProvider {
  return {
    model,
    ...termsOf(model, terms),
    complete: async (request, context) => {
      const completion = completionOf(typeof script === "function" ? await script(request) : answerOf(script, request));
      context.signal.throwIfAborted();
      context.assertOwner();
      if (completion.text !== "") context.onToken(completion.text);
      return completion;
    },
  };
}

function answerOf(script: readonly ScriptedAnswer[], { messages }: LlmRequest): ScriptedAnswer {
  const turn = messages.filter(({ role }) => role === "assistant").length;
  const answer = script[turn];
  if (answer !== undefined) return answer;
  throw new AetherError("E_NOT_FOUND", `the script of this model has ${script.length} answers, and its conversation ` +
    `is at turn ${turn + 1}: give it one more`);
}

function completionOf(answer: ScriptedAnswer): LlmCompletion {
  if (typeof answer === "string") return { text: answer, finish: "stop" };
  if ("json" in answer) return { text: JSON.stringify(answer.json), finish: "stop" };
  const { toolCalls = [] } = answer;
  return { text: "", finish: toolCalls.length > 0 ? "tools" : "stop", ...answer };
}
