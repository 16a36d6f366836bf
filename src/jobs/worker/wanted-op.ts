// Owns: what the node is told that the code of an agent asks for. Does not own: when it is told (agent-run.ts), and
// steps, which the node need not know of.
import { unreachable } from "../../base/assert.ts";
import type { CallName } from "../core/ids.ts";
import type { AgentOp, AgentWait } from "../core/worker/messages.ts";
import type { Asked } from "./given.ts";

type AskedOf<Kind extends Asked["kind"]> = Extract<Asked, { readonly kind: Kind }>;

export type AskedOfNode = Exclude<Asked, AskedOf<"step">>;

export interface WantedPlace {
  /** When a wait of that long is over. */
  dueMs(durationMs: number): number;
  /** The job has a budget. */
  readonly isLimited: boolean;
}

export function wantedOp(asked: AskedOfNode, place: WantedPlace): AgentOp {
  switch (asked.kind) {
    case "tool":
      return wantedTool(asked, place);
    case "sleep":
      return wantedWait(asked.call, { kind: "timer", dueMs: place.dueMs(asked.durationMs) });
    case "signal":
      return wantedWait(asked.call, { kind: "signal", signal: asked.signal, ...until(asked, place) });
    case "approval": {
      const { kind, call, inputDigest: shown, timeoutMs: _timeoutMs, ...question } = asked;
      return wantedWait(call, { kind, ...question, shown, ...until(asked, place) });
    }
    case "child": {
      const { call, agent, input, inputDigest, isDetached, budget } = asked;
      const limit = budget === undefined ? {} : { budget };
      return { kind: "want-child", call, agent, input, inputDigest, isDetached, ...until(asked, place), ...limit };
    }
    default:
      return unreachable(asked);
  }
}

function wantedWait(call: CallName, wait: AgentWait): AgentOp {
  return { kind: "want-wait", call, wait };
}

function until(
  { timeoutMs }: { readonly timeoutMs: number | undefined }, { dueMs }: WantedPlace,
): { readonly untilMs?: number } {
  return timeoutMs === undefined ? {} : { untilMs: dueMs(timeoutMs) };
}

function wantedTool({ call, tool, input, inputDigest }: AskedOf<"tool">, { isLimited }: WantedPlace): AgentOp {
  const model = tool.modelUse?.(input);
  const cost = isLimited ? tool.costMaxOf?.(input) : undefined;
  return {
    kind: "want-tool",
    call,
    tool: tool.name,
    effect: tool.effect,
    canReconcile: tool.reconcile !== undefined,
    input,
    inputDigest,
    timeoutMs: tool.timeoutMs,
    ...(tool.settleMs !== undefined && { settleMs: tool.settleMs }),
    ...(tool.secrets.length > 0 && { secrets: tool.secrets }),
    ...(tool.rate !== undefined && { rate: tool.rate }),
    ...(tool.maxConcurrent !== undefined && { maxConcurrent: tool.maxConcurrent }),
    ...(model !== undefined && { model }),
    ...(cost !== undefined && { cost }),
  };
}
