// Owns: the spans of ONE run of a job on this node: the run itself, its steps, and each attempt at a call of a tool.
// Does not own: how a job begins (start-jobs.ts has the span that all runs of it belong to).
//
// A job outlives processes, and a span does not: so each owner has a span of its own, from its claim until it is done
// with the job. What the log has already is not done again and has no span here.
import type { Span, SpanAttributes, Tracing } from "../../env/tracing.ts";
import { parseTraceparent } from "../../invocation/core/trace-context.ts";
import type { CallName, EffectId } from "../core/ids.ts";
import type { AgentOp } from "../core/worker/messages.ts";
import type { ToolRow } from "../core/tools/tool-row.ts";
import type { JobView } from "../ports.ts";

type StepOp = Extract<AgentOp, { readonly kind: "step-completed" | "step-failed" }>;
type OutcomeOp = Extract<AgentOp, { readonly kind: "outcome" }>;

export class RunTrace {
  private readonly tracing: Tracing | undefined;
  private readonly of: SpanAttributes;
  private readonly run: Span | undefined;
  /** As many as calls are under way. */
  private readonly calls = new Map<EffectId, Span>();

  constructor(tracing: Tracing | undefined, { ref, row, spec }: Pick<JobView, "ref" | "row" | "spec">) {
    this.tracing = tracing;
    this.of = { "aether.job": ref.job, "aether.agent": row.agent, "aether.epoch": row.epoch };
    const attributes = { ...this.of, "aether.run": row.run };
    this.run = tracing?.isOn === true
      ? tracing.begin({ name: `job ${row.agent}`, kind: "internal", parent: spec.traceparent, attributes })
      : undefined;
  }

  /** A call was granted, and goes to its tool. Told again, it is the same attempt. */
  granted({ effectId, tool, call, attempt }: Pick<ToolRow, "effectId" | "tool" | "call" | "attempt">): void {
    if (this.run === undefined || this.calls.has(effectId)) return;
    const attributes = {
      ...this.of, "aether.tool": tool, "aether.call": call, "aether.effect": effectId, "aether.attempt": attempt,
    };
    const span = this.begin(`tool ${tool}`, { kind: "client", attributes });
    if (span !== undefined) this.calls.set(effectId, span);
  }

  outcome({ effectId, outcome }: Pick<OutcomeOp, "effectId" | "outcome">): void {
    const span = this.calls.get(effectId);
    if (span === undefined) return;
    this.calls.delete(effectId);
    const usage = outcome.kind === "succeeded" ? outcome.usage : undefined;
    span.end({
      error: errorOf(outcome),
      attributes: {
        "aether.outcome": outcome.kind,
        ...(usage !== undefined && {
          "gen_ai.request.model": usage.model,
          "gen_ai.usage.input_tokens": usage.inputTokens,
          "gen_ai.usage.output_tokens": usage.outputTokens,
        }),
      },
    });
  }

  /** Nobody heard how it ended. */
  lost(effectId: EffectId): void {
    this.outcome({ effectId, outcome: { kind: "unknown", reason: "lost" } });
  }

  /** Told of when it is over. One that was refused has not run. */
  step(op: StepOp): void {
    if (this.run === undefined || op.tookMs === undefined) return;
    const attributes = { ...this.of, "aether.step": op.call };
    const span = this.begin(`step ${shortName(op.call)}`, { kind: "internal", attributes, sinceMs: op.tookMs });
    span?.end(op.kind === "step-failed" ? { error: op.error.code ?? op.error.name } : {});
  }

  /** How a call was found out about that nobody knew the outcome of. */
  reconciled(effectId: EffectId, answer: string): void {
    this.run?.note("reconciled", { "aether.effect": effectId, "aether.answer": answer });
  }

  /** This node is done with the job. */
  end(how: string): void {
    for (const effectId of [...this.calls.keys()]) this.lost(effectId);
    this.run?.end({ attributes: { "aether.outcome": how } });
  }

  private begin(name: string, spec: {
    readonly kind: "client" | "internal"; readonly attributes: SpanAttributes; readonly sinceMs?: number;
  }): Span | undefined {
    return this.tracing?.begin({ ...spec, name, parent: this.run?.traceparent });
  }
}

/** Without keys and counts, which are different in every job: `refund` of `refund/order-7#2`. */
function shortName(call: CallName): string {
  return call.replace(/^@\d+\//, "").split(/[/#]/)[0] ?? call;
}

function errorOf(outcome: OutcomeOp["outcome"]): string | undefined {
  if (outcome.kind === "failed") return outcome.error.code ?? outcome.error.name;
  return outcome.kind === "unknown" ? "unknown" : undefined;
}

/** For lines of the log: the id of the trace that a context belongs to. */
export function traceOf(traceparent: string | undefined): { readonly trace?: string } {
  const found = parseTraceparent(traceparent);
  return found === undefined ? {} : { trace: found.traceId };
}
