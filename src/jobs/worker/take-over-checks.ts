// Owns: asking the verifiers of tools, after a take-over, whether the world outside still agrees with what the log has
// as done. Does not own: which calls these are (core/worker/done-calls.ts), what follows (agent-run.ts).
import { AetherError } from "../../base/errors.ts";
import type { Clock } from "../../env/clock.ts";
import { describeThrown } from "../../slices/core/thrown-text.ts";
import type { CallName } from "../core/ids.ts";
import type { MismatchAction, Verdict } from "../core/log/event.ts";
import type { DoneCall } from "../core/worker/done-calls.ts";
import type { SecretValues } from "../core/worker/messages.ts";
import type { AgentModule, ToolModule, VerifierModule } from "./agent-module.ts";
import { checkNow } from "./payload.ts";
import { secretOf } from "./tool-runner.ts";

export interface VerifiedCall {
  readonly call: CallName;
  readonly verdict: Verdict;
  readonly onMismatch: MismatchAction;
}

export interface TakeOverChecksSetup {
  readonly agent: AgentModule;
  readonly done: readonly DoneCall[];
  /** Of the run. */
  readonly signal: AbortSignal;
  /** Asks the node for the secrets that verifiers need; its answer is what `run` gets. */
  readonly ask: (secrets: readonly string[]) => void;
}

/** Verifiers that are asked at the same time. */
export const CHECKS_AT_ONCE_MAX = 8;
/** Of what a verifier says is different. */
export const WHY_LENGTH_MAX = 1_000;
const TOO_LARGE = "its input or its result is above what a log holds itself, and is not looked at";

interface Check {
  readonly done: DoneCall;
  readonly tool: ToolModule;
  readonly verifier: VerifierModule;
}

export class TakeOverChecks {
  private readonly clock: Pick<Clock, "setTimer">;
  private readonly setup: TakeOverChecksSetup;
  private checks: readonly Check[];
  private isAsked = false;

  constructor(clock: Pick<Clock, "setTimer">, setup: TakeOverChecksSetup) {
    this.clock = clock;
    this.setup = setup;
    const byName = new Map([...setup.agent.tools.values()].map((tool) => [tool.name, tool]));
    this.checks = setup.done.flatMap((done) => {
      const tool = byName.get(done.tool);
      return tool?.verify === undefined ? [] : [{ done, tool, verifier: tool.verify }];
    });
  }

  /** Whether something is to be looked at that was not yet. */
  get isDue(): boolean {
    return this.checks.length > 0;
  }

  /** Once. */
  ask(): void {
    if (this.isAsked) return;
    this.isAsked = true;
    this.setup.ask([...new Set(this.checks.flatMap(({ tool }) => tool.secrets))]);
  }

  /** In the order in which the calls were done. Never rejects. */
  async run(secrets: SecretValues): Promise<readonly VerifiedCall[]> {
    const verified: VerifiedCall[] = [];
    for (let at = 0; at < this.checks.length; at += CHECKS_AT_ONCE_MAX) {
      const some = this.checks.slice(at, at + CHECKS_AT_ONCE_MAX);
      verified.push(...await Promise.all(some.map((check) => this.verify(check, secrets))));
    }
    this.checks = [];
    return verified;
  }

  private async verify({ done, tool, verifier }: Check, secrets: SecretValues): Promise<VerifiedCall> {
    const { call, effectId, isApart } = done;
    const { onMismatch } = verifier;
    if (isApart === true) return { call, verdict: { kind: "unknown", why: TOO_LARGE }, onMismatch };
    const limit = new AbortController();
    const expired = new Promise<never>((_resolve, reject) => {
      limit.signal.addEventListener("abort", () => reject(limit.signal.reason), { once: true });
    });
    const text = `it did not end within ${tool.timeoutMs} ms`;
    const timer = this.clock.setTimer(tool.timeoutMs, () => limit.abort(new AetherError("E_TIMEOUT", text)));
    const signal = AbortSignal.any([this.setup.signal, limit.signal]);
    const context = { effectId, signal, secret: secretOf(tool, secrets) };
    try {
      const input = parsed(tool.input, done.input);
      const result = parsed(tool.output, done.result);
      const found = await Promise.race([expired, (async () => await verifier.check(input, result, context))()]);
      return { call, verdict: verdictOf(found), onMismatch };
    } catch (thrown) {
      const { name, message } = describeThrown(thrown);
      return { call, verdict: { kind: "unknown", why: `${name}: ${message}`.slice(0, WHY_LENGTH_MAX) }, onMismatch };
    } finally {
      timer.cancel();
    }
  }
}

/** What the first of these calls comes to of which the world outside says something else; undefined for none. */
export function mismatch(verified: readonly VerifiedCall[], action: MismatchAction): AetherError | undefined {
  const found = verified.find(({ onMismatch, verdict }) => onMismatch === action && verdict.kind === "differs");
  if (found?.verdict.kind !== "differs") return undefined;
  const { call, verdict: { why } } = found;
  const message = `the call ${call} is recorded as done, and outside it is not so (${why}): see what was done there, ` +
    "before anything is done again";
  return new AetherError("E_EFFECT_MISMATCH", message, { details: { call, why } });
}

function verdictOf(found: unknown): Verdict {
  const shape: { readonly agrees?: unknown; readonly why?: unknown } =
    typeof found === "object" && found !== null ? found : {};
  const { agrees = found, why = "its verifier does not say why" } = shape;
  if (agrees === true) return { kind: "agrees" };
  if (agrees === false) return { kind: "differs", why: String(why).slice(0, WHY_LENGTH_MAX) };
  return { kind: "unknown", why: "its verifier answers neither true nor false" };
}

/** As the tool had it. @throws AetherError E_INVALID */
function parsed(schema: ToolModule["input"], value: unknown): unknown {
  const checked = checkNow(schema, value);
  if (checked.kind === "valid") return checked.data;
  throw new AetherError("E_INVALID", `what is recorded of it is no more what its schema says: ${checked.text}`);
}
