// Owns: asking models for advice now and then, in the background: a slow or broken one holds up no rule.
// Does not own: what a model is (sdk/llm.ts), what it is told (core/model-question.ts), what may be done of its answer.
import { AetherError, toAetherError } from "../base/errors.ts";
import { TaskScope } from "../base/task-scope.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import type { LlmProvider } from "../sdk/llm.ts";
import type { Advised, ControlContext } from "./core/advice.ts";
import { ANSWER_SCHEMA, questionOf, readAdvice, SYSTEM_TEXT } from "./core/model-question.ts";
import type { Advisor, RuleSet } from "./core/rules.ts";
import type { ModelAdvice } from "./control-loop.ts";

export interface ModelAdvisorPorts {
  /** @throws AetherError for one that cannot be asked */
  open(advisor: Advisor): LlmProvider;
  /** Of this node, by name. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly onFatal: (error: unknown) => void;
}

/** Something happened: it is asked before its time, but not sooner than this after the last time. */
const SOON_MS = 10 * SECOND_MS;
/** Between two attempts. */
const RETRY_AFTER_MS = SECOND_MS;
const ANSWER_TOKENS_MAX = 2_000;
/** Advice counts for so many of its intervals: then the cluster is another one. */
const COUNTS_FOR = 2;
const NOTHING: Advised = { advice: [], undecided: [] };

export class ModelAdvisor implements ModelAdvice {
  private readonly clock: Clock;
  private readonly ports: ModelAdvisorPorts;
  private readonly scope: TaskScope;
  /** Ends what is under way; undefined while nothing is. */
  private asking: AbortController | undefined;
  private askedAtMs: number | undefined;
  private eventsToldMs = 0;
  private said: { readonly advised: Advised; readonly untilMs: number } | undefined;

  constructor(env: { readonly clock: Clock }, ports: ModelAdvisorPorts) {
    this.clock = env.clock;
    this.ports = ports;
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  consider(context: ControlContext, rules: RuleSet): void {
    const [first] = rules.advisors;
    if (first === undefined || this.asking !== undefined || !this.isDue(context, first)) return;
    this.askedAtMs = this.clock.nowMs();
    this.eventsToldMs = Math.max(this.eventsToldMs, ...context.events.map(({ atMs }) => atMs));
    const question = questionOf(context, rules);
    const asking = new AbortController();
    this.asking = asking;
    this.scope.spawn("model-advice", async (closing) => {
      const advised = await this.askAll(rules.advisors, question, AbortSignal.any([closing, asking.signal]));
      // Not after a reset: the advice would be for another leadership, or by other rules.
      if (this.asking !== asking) return;
      this.asking = undefined;
      this.said = { advised, untilMs: this.clock.nowMs() + COUNTS_FOR * first.every };
    });
  }

  latest(): Advised {
    return this.said !== undefined && this.said.untilMs > this.clock.nowMs() ? this.said.advised : NOTHING;
  }

  reset(): void {
    this.asking?.abort(new AetherError("E_FENCED", "this node does not lead any more, or by other rules"));
    this.asking = undefined;
    this.said = undefined;
    this.askedAtMs = undefined;
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  private isDue({ events }: ControlContext, { every }: Advisor): boolean {
    if (this.askedAtMs === undefined) return true;
    const agoMs = this.clock.nowMs() - this.askedAtMs;
    const isNews = events.some(({ atMs, source }) => atMs > this.eventsToldMs && !source.startsWith("model "));
    return agoMs >= every || (isNews && agoMs >= SOON_MS);
  }

  /** The advice of the first that gives any; what the others failed with is told beside it. None once it is to end. */
  private async askAll(advisors: readonly Advisor[], question: string, signal: AbortSignal): Promise<Advised> {
    const undecided: Advised["undecided"][number][] = [];
    for (const advisor of advisors) {
      const source = `model ${advisor.model}`;
      for (let attempt = 0; attempt <= advisor.retries; attempt++) {
        try {
          if (attempt > 0) await this.clock.sleep(RETRY_AFTER_MS, signal);
          return { advice: readAdvice(await this.ask(advisor, question, signal), source), undecided };
        } catch (thrown) {
          if (signal.aborted) return NOTHING;
          if (attempt < advisor.retries) continue;
          undecided.push({ slice: "*", source, reason: this.withoutKey(advisor, toAetherError(thrown).message) });
        }
      }
    }
    return { advice: [], undecided };
  }

  private async ask(advisor: Advisor, question: string, signal: AbortSignal): Promise<string> {
    const timeout = new AbortController();
    const timer = this.clock.setTimer(advisor.timeout, () => timeout.abort(
      new AetherError("E_TIMEOUT", `it gave no answer within ${advisor.timeout / SECOND_MS} s`, { outcome: "none" }),
    ));
    const ends = AbortSignal.any([signal, timeout.signal]);
    try {
      const asked = Promise.resolve(this.ports.open(advisor).complete({
        system: SYSTEM_TEXT,
        messages: [{ role: "user", text: question }],
        output: ANSWER_SCHEMA,
        maxTokens: ANSWER_TOKENS_MAX,
        temperature: 0,
      }, {
        effectId: "control-advice", signal: ends, assertOwner: () => signal.throwIfAborted(), onToken: () => undefined,
        secret: ({ name }) => this.secretOf(name),
      }));
      const { text } = await Promise.race([asked, rejectedWith(ends)]);
      return text;
    } finally {
      timer.cancel();
    }
  }

  private secretOf(name: string): string {
    const value = this.ports.secrets[name];
    if (value !== undefined) return value;
    throw new AetherError("E_CONFIG", `this node has no secret "${name}": name it in its configuration`);
  }

  /** Some services repeat the key that they refuse. */
  private withoutKey({ secret }: Advisor, text: string): string {
    const key = secret === undefined ? undefined : this.ports.secrets[secret];
    return (key === undefined || key === "" ? text : text.replaceAll(key, "…")).slice(0, 500);
  }
}

/** A model that does not heed its signal must not hold up the next question. */
function rejectedWith(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}
