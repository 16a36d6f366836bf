// Owns: one question of an agent to one of its models: the request, what is tried again and when, what the answer is to
// the code. Each request is a call of its own in the job's log, of effect `read`; waits between them are timers.
// Does not own: how a model is reached (sdk/llm), one request's dispatch (tool-runner.ts).
import type { ErrorCode } from "../../base/error-catalog.ts";
import { AetherError } from "../../base/errors.ts";
import type { LlmMessage, LlmRequest } from "../../sdk/llm.ts";
import type { CallName } from "../core/ids.ts";
import { digestOfPlain } from "../core/plain-digest.ts";
import type { AgentModule } from "./agent-module.ts";
import type { Asked } from "./given.ts";
import { readQuestion, type Question } from "./llm-question.ts";
import { completionIn, modelTool, type Completion } from "./llm-tool.ts";
import { checkNow, largePayloadOf } from "./payload.ts";

export interface LlmPorts {
  ask(place: { readonly name: string; readonly key?: string | undefined }, asked: (call: CallName) => Asked):
    Promise<unknown>;
  /** The job's budget limits money or tokens. */
  readonly isLimited: boolean;
  /** What belongs to a call that was made already. */
  askLater(first: CallName, name: string, asked: (call: CallName) => Asked): Promise<unknown>;
}

/** A wait that a model asks for and that is longer is the agent's matter. */
export const RETRY_WAIT_MS_MAX = 3_600_000;
/** `E_FENCED`: the node was not sure of the job at that moment, so that nothing was sent. */
const RETRIED: readonly string[] = ["E_OVERLOADED", "E_UNAVAILABLE", "E_FENCED"] satisfies readonly ErrorCode[];
const RETRY_WAIT_MS_FIRST = 1_000;
const RETRY_WAIT_MS_OURS_MAX = 60_000;
/** Of an answer that goes into an error. */
const SHOWN_LENGTH_MAX = 2_000;

/** What `job.llm(model, call)` gives. */
export function askModel(
  ports: LlmPorts, agent: AgentModule, asked: { readonly model: unknown; readonly call: unknown },
): Promise<unknown> {
  const answer = converse(ports, agent, asked);
  // ignored: code that does not wait for its own call does not hear of it, and the worker lives on.
  answer.catch(() => undefined);
  return answer;
}

async function converse(
  ports: LlmPorts, agent: AgentModule, asked: { readonly model: unknown; readonly call: unknown },
): Promise<unknown> {
  const question = readQuestion(agent, asked);
  const requests = new Requests(ports, question);
  let { messages } = question.request;
  for (let repairs = 0; ; repairs++) {
    const completion = await requests.complete({ ...question.request, messages });
    const read = readAnswer(question, completion);
    if (read.kind === "answer") return read.answer;
    // What was cut or held back would be so again.
    const isFinal = completion.finish === "filtered" || completion.finish === "length";
    if (repairs >= question.repairs || isFinal) throw wrongAnswer(question, completion, read.text);
    messages = [...messages, ...correction(completion, read.text)];
  }
}

/** All requests that belong to one question. */
class Requests {
  private readonly ports: LlmPorts;
  private readonly question: Question;
  private first: CallName | undefined;

  constructor(ports: LlmPorts, question: Question) {
    this.ports = ports;
    this.question = question;
  }

  async complete(request: LlmRequest): Promise<Completion> {
    for (let attempt = 0; ; attempt++) {
      try {
        return completionIn(await this.send(request));
      } catch (error) {
        const waitMs = attempt < this.question.retries ? waitMsFor(error, attempt) : undefined;
        if (waitMs === undefined || this.first === undefined) throw error;
        await this.ports.askLater(this.first, "wait", (call) => ({ kind: "sleep", call, durationMs: waitMs }));
      }
    }
  }

  private send(request: LlmRequest): Promise<unknown> {
    const { alias, module, timeoutMs, key } = this.question;
    const tool = modelTool(alias, module, { timeoutMs, isLimited: this.ports.isLimited });
    const payload = largePayloadOf(request);
    if (payload.kind === "refused") {
      throw new AetherError(payload.code, `the request to the model "${alias}" is ${payload.text}`);
    }
    const { value: input, bytes: inputBytes } = payload;
    const inputDigest = digestOfPlain(input);
    const { first } = this;
    const asked = (call: CallName): Asked => {
      this.first ??= call;
      return { kind: "tool", call, tool, data: input, input, inputBytes, inputDigest };
    };
    return first === undefined
      ? this.ports.ask({ name: tool.name, key }, asked)
      : this.ports.askLater(first, "again", asked);
  }
}

/** How long to wait before the same request is made again; undefined for what would fail again. */
function waitMsFor(error: unknown, attempt: number): number | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  if (typeof error.code !== "string" || !RETRIED.includes(error.code)) return undefined;
  const details: unknown = "details" in error ? error.details : undefined;
  const told = typeof details === "object" && details !== null && "retryAfterMs" in details
    ? details.retryAfterMs
    : undefined;
  if (typeof told !== "number") return Math.min(RETRY_WAIT_MS_FIRST * 2 ** attempt, RETRY_WAIT_MS_OURS_MAX);
  return told <= RETRY_WAIT_MS_MAX ? told : undefined;
}

type Read =
  { readonly kind: "answer"; readonly answer: unknown } | { readonly kind: "wrong"; readonly text: string };

function readAnswer(question: Question, completion: Completion): Read {
  const wrong = completion.toolCalls.flatMap(({ name, input }) => {
    const tool = question.tools.get(name);
    if (tool === undefined) return [`there is no tool "${name}"`];
    const checked = checkNow(tool, input);
    return checked.kind === "valid" ? [] : [`the input of the tool "${name}" is invalid: ${checked.text}`];
  });
  if (wrong.length > 0) return { kind: "wrong", text: wrong.join("; ") };
  if (question.output === undefined) return { kind: "answer", answer: answerOf(completion, undefined) };
  const parsed = jsonIn(completion.text);
  if (parsed === undefined) return { kind: "wrong", text: "it is not JSON" };
  const checked = checkNow(question.output, parsed.value);
  return checked.kind === "valid"
    ? { kind: "answer", answer: answerOf(completion, checked.data) }
    : { kind: "wrong", text: checked.text };
}

function answerOf(completion: Completion, output: unknown): unknown {
  const { text, toolCalls, finish, model, usage } = completion;
  return { text, output, toolCalls, finish, model, usage, message: messageOf(completion) };
}

function messageOf({ text, toolCalls }: Completion): LlmMessage {
  return { role: "assistant", text, ...(toolCalls.length > 0 && { toolCalls }) };
}

/** Small models like to put a fence around what they are asked for. */
function jsonIn(text: string): { readonly value: unknown } | undefined {
  const inner = /^\s*```(?:json)?\s*\n([\s\S]*?)\n?```\s*$/.exec(text)?.[1] ?? text;
  try {
    return { value: JSON.parse(inner) };
  } catch {
    // ignored: it is none.
    return undefined;
  }
}

/** Each call of a tool has to have a result before a model goes on. */
function correction(completion: Completion, text: string): readonly LlmMessage[] {
  const results = completion.toolCalls.map(({ id }): LlmMessage =>
    ({ role: "tool", callId: id, result: { error: `not called: ${text}` } }));
  const advice = results.length > 0
    ? "Correct the calls."
    : "Answer again, with nothing but JSON of the form asked for.";
  return [messageOf(completion), ...results, { role: "user", text: `Your answer cannot be used: ${text}. ${advice}` }];
}

function wrongAnswer({ alias }: Question, completion: Completion, text: string): AetherError {
  const { finish, model } = completion;
  const cut = finish === "length" ? ", and it was cut at its longest: raise maxTokens" : "";
  const who = `the model "${alias}" (${model})`;
  return new AetherError("E_LLM_ANSWER", `${who} did not answer as it was asked to: ${text}${cut}`, {
    details: { text: completion.text.slice(0, SHOWN_LENGTH_MAX), finish },
  });
}
