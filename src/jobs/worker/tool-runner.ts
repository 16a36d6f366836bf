// Owns: one dispatch of a tool: the last look at the fence, its time, what its end means. Asking a tool what became of
// a call. Does not own: whether it may be called (the node grants it), what follows (the ledger).
import { AetherError } from "../../base/errors.ts";
import type { Clock } from "../../env/clock.ts";
import { describeThrown } from "../../slices/core/thrown-text.ts";
import type { EffectId } from "../core/ids.ts";
import type { ReconcileAnswer, SecretValues, ToolOutcome } from "../core/worker/messages.ts";
import { secretNameOf, type ToolModule } from "./agent-module.ts";
import { checkNow, jobErrorOf, largePayloadOf, payloadFor, payloadOf, saysNotDone } from "./payload.ts";

export interface Dispatch {
  readonly tool: ToolModule;
  /** As its schema gave it. */
  readonly input: unknown;
  readonly effectId: EffectId;
  /** Whether the job is this node's, at this very moment. */
  readonly mayAct: () => boolean;
  /**
   * Once, and once more when a `once` tool answers after its time was over: then what became of it was unknown, and it
   * is done after all.
   */
  readonly onOutcome: (outcome: ToolOutcome) => void;
  /** Of the secrets that the tool lists, those that the node has. */
  readonly secrets: SecretValues;
  /** Tells whoever watches a piece of what a model says. */
  readonly onToken: (text: string) => void;
}

export interface RunningTool {
  /** The job was cancelled: what changes nothing outside need not go on. Its outcome is heard all the same. */
  interrupt(reason: Error): void;
  /** Tells the tool to stop; nobody hears of it any more. */
  abandon(reason: AetherError): void;
}

/** Dispatches a call; undefined when the fence is down: nothing was done. */
export function dispatch(call: Dispatch, clock: Pick<Clock, "setTimer">): RunningTool | undefined {
  if (!call.mayAct()) return undefined;
  const { tool, input, effectId, onOutcome } = call;
  const controller = new AbortController();
  let state: "running" | "late" | "over" = "running";
  const timer = clock.setTimer(tool.timeoutMs, () => {
    state = tool.effect === "once" ? "late" : "over";
    const expiry = new AetherError("E_TIMEOUT", `the tool ${tool.name} did not end within ${tool.timeoutMs} ms`);
    controller.abort(expiry);
    onOutcome(failureOf(call, expiry));
  });
  const end = (outcome: ToolOutcome): void => {
    timer.cancel();
    const isHeard = state === "running" || (state === "late" && outcome.kind === "succeeded");
    state = "over";
    if (isHeard) onOutcome(outcome);
  };
  let isStopped = false;
  const stop = (): void => {
    if (call.mayAct()) return;
    isStopped = true;
    throw new AetherError("E_FENCED", `the tool ${tool.name} stops: its job may belong to another node by now`);
  };
  const context = {
    effectId, signal: controller.signal, assertOwner: stop, secret: secretOf(tool, call.secrets),
    onToken: (text: string) => call.onToken(text),
  };
  void attempt(() => tool.execute(input, context)).then((ended) =>
    end(ended.kind === "answered" ? successOf(tool, ended.value) : failureOf(call, ended.thrown, isStopped)));
  return {
    interrupt: (reason) => {
      if (tool.effect === "read") controller.abort(reason);
    },
    abandon: (reason) => {
      timer.cancel();
      state = "over";
      controller.abort(reason);
    },
  };
}

/** Asks a tool what became of a call; `input` is what the log has of it. Never rejects. */
export async function reconcile(
  tool: ToolModule,
  { input, effectId, secrets }: {
    readonly input: unknown; readonly effectId: EffectId; readonly secrets: SecretValues;
  },
  clock: Pick<Clock, "setTimer">,
): Promise<ReconcileAnswer> {
  const ask = tool.reconcile;
  if (ask === undefined) return { kind: "unknown", reason: `the tool ${tool.name} has no reconcile` };
  const checked = checkNow(tool.input, input);
  if (checked.kind === "invalid") return { kind: "unknown", reason: `its input is invalid: ${checked.text}` };
  const controller = new AbortController();
  const expired = new Promise<ReconcileAnswer>((resolve) => {
    const timer = clock.setTimer(tool.timeoutMs, () => {
      const reason = `reconcile of the tool ${tool.name} did not end within ${tool.timeoutMs} ms`;
      resolve({ kind: "unknown", reason });
      controller.abort(new AetherError("E_TIMEOUT", reason));
    });
    controller.signal.addEventListener("abort", () => timer.cancel(), { once: true });
  });
  const ended = await Promise.race([
    attempt(() => ask(checked.data, { effectId, signal: controller.signal, secret: secretOf(tool, secrets) })), expired,
  ]);
  controller.abort();
  if (!("value" in ended) && !("thrown" in ended)) return ended;
  if (ended.kind === "answered") return answerOf(tool, ended.value);
  const { name, message } = describeThrown(ended.thrown);
  return { kind: "unknown", reason: `reconcile of the tool ${tool.name} threw ${name}: ${message}` };
}

type Ended =
  { readonly kind: "answered"; readonly value: unknown } | { readonly kind: "threw"; readonly thrown: unknown };

async function attempt(run: () => unknown): Promise<Ended> {
  try {
    return { kind: "answered", value: await run() };
  } catch (thrown) {
    return { kind: "threw", thrown };
  }
}

export function secretOf(tool: ToolModule, secrets: SecretValues): (reference: unknown) => string {
  return (reference) => {
    const name = secretNameOf(reference);
    if (name === undefined || !tool.secrets.includes(name)) {
      throw new AetherError("E_CONFIG", `${tool.name} asks for the secret "${name ?? String(reference)}", which it ` +
        "does not list: add it to its `secrets`");
    }
    const value = Object.hasOwn(secrets, name) ? secrets[name] : undefined;
    if (value !== undefined) return value;
    throw new AetherError("E_CONFIG", `the node that runs the job has no secret "${name}": give it one in its ` +
      "configuration, under `secrets`");
  };
}

/** Whatever it answers, it has happened. */
function successOf(tool: ToolModule, value: unknown): ToolOutcome {
  const checked = checkNow(tool.output, value);
  const payload = checked.kind === "valid" ? payloadFor(tool.output, checked.data, value) : largePayloadOf(value);
  const result = payload.kind === "plain" ? payload.value : undefined;
  if (payload.kind === "refused") return { kind: "succeeded", result, problem: `what it answered is ${payload.text}` };
  const usage = tool.usageOf?.(result);
  const cost = tool.costOf?.(result);
  const counted = { ...(usage !== undefined && { usage }), ...(cost !== undefined && { cost }) };
  if (checked.kind === "valid") return { kind: "succeeded", result, ...counted };
  const problem = `what it answered is not what its schema says: ${checked.text}`;
  return { kind: "succeeded", result, ...counted, problem };
}

/**
 * `isStopped`: by the fence. That is no matter of the tool's: whoever owns the job then makes the call again, if it may
 * be made twice.
 */
function failureOf(
  { tool, input }: Pick<Dispatch, "tool" | "input">, thrown: unknown, isStopped = false,
): ToolOutcome {
  const error = jobErrorOf(thrown);
  const isNotDone = saysNotDone(thrown);
  if (isNotDone || (tool.effect !== "once" && !isStopped)) {
    const cost = isNotDone ? undefined : tool.costOfFailure?.(input, thrown);
    return { kind: "failed", error, isNotDone, ...(cost !== undefined && { cost }) };
  }
  return { kind: "unknown", reason: `the tool ${tool.name} threw ${error.name}: ${error.message}` };
}

function answerOf(tool: ToolModule, value: unknown): ReconcileAnswer {
  const answer = typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  const { status, result, final, reason } = answer;
  if (status === "not-done") return { kind: "not-done", isFinal: final === true };
  if (status === "unknown") {
    return { kind: "unknown", reason: typeof reason === "string" ? reason.slice(0, REASON_LENGTH_MAX) : "no reason" };
  }
  if (status !== "done") {
    return { kind: "unknown", reason: `reconcile of the tool ${tool.name} answered no status that there is` };
  }
  // A reconcile says what a call has come to in a message.
  const small = payloadOf(result);
  if (small.kind === "refused") {
    const said = `reconcile of the tool ${tool.name} says done, but what it answered is ${small.text}`;
    return { kind: "unknown", reason: said };
  }
  const outcome = successOf(tool, result);
  if (outcome.kind === "succeeded" && outcome.problem === undefined) return { kind: "done", result: outcome.result };
  const problem = outcome.kind === "succeeded" ? outcome.problem : undefined;
  return { kind: "unknown", reason: `reconcile of the tool ${tool.name} says done, but ${problem ?? "not how"}` };
}

const REASON_LENGTH_MAX = 1_000;
