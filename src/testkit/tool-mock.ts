// Owns: tools of agents whose other side a test plays: what they send goes to the simulated world outside, and is
// counted there. Does not own: that world (sim/outside.ts).
import type { z } from "zod";
import type { Reconciled, Tool, ToolContext, ToolVerifier, Verified } from "../sdk/tool.ts";
import { toCanonical } from "../slices/core/canonical.ts";
import type { Outside, OutsideRequest, OutsideService } from "./sim/outside.ts";
import type { SimProcess } from "./sim/sim-process.ts";

/** What the other side of a tool does with a request. What it throws means that nothing has happened there. */
export type MockTool<T extends Tool> = (
  input: z.output<T["input"]>, context: MockContext<z.input<T["output"]>>,
) => Promise<z.input<T["output"]>> | z.input<T["output"]>;

export interface MockContext<R> {
  /** The same for every attempt at one call. */
  readonly effectId: string;
  /** Requests with this effect id that have arrived, this one included. */
  readonly arrivals: number;
  /** Virtual time, in milliseconds. */
  readonly nowMs: number;
  /** Resolves after so many milliseconds of virtual time. */
  sleep(delayMs: number): Promise<void>;
  /** It happens, and whoever asked never hears of it: `return loseAnswer({ … })`. */
  loseAnswer(result: R): Promise<never>;
}

export interface MockOptions {
  /**
   * Whether an effect id that is known already is answered as the first time, and nothing happens again. Default
   * false: the other side does whatever it is asked.
   */
  readonly honoursEffectIds?: boolean;
  /**
   * How long a request is on its way there, at most, in milliseconds of virtual time. It arrives also when the node
   * that sent it has died meanwhile. Default 2.
   */
  readonly travelMsMax?: number;
  /** What the tool's `verify` finds of the call with this effect id. Default: all is as it is recorded. */
  readonly verify?: (effectId: string) => Verified;
}

/** Requests of a tool that have left its node, in that order. */
export interface ToolMock {
  readonly requests: readonly OutsideRequest[];
  /** Raw requests that have arrived with this effect id. */
  countOf(effectId: string): number;
}

/** A mock as the cluster keeps it, under the name of its tool. */
export type KnownMock = OutsideService & { readonly tool: string } & Pick<MockOptions, "verify">;

export function knownMock<T extends Tool>(
  { name }: T, outside: Outside, behave: MockTool<T>, { honoursEffectIds = false, travelMsMax, verify }: MockOptions,
): KnownMock {
  return {
    tool: name,
    honoursKeys: honoursEffectIds,
    ...(travelMsMax !== undefined && { travelMsMax }),
    ...(verify !== undefined && { verify }),
    serve: (request, time) => behave(request.input as z.output<T["input"]>, {
      effectId: request.key ?? "",
      arrivals: arrivalsOf(outside, name, request.key ?? ""),
      get nowMs() {
        return time.nowMs;
      },
      sleep: (delayMs) => time.sleep(delayMs),
      loseAnswer: (result) => time.loseAnswer(result),
    }),
  };
}

export function toolMockOf(outside: Outside, tool: string): ToolMock {
  return {
    get requests() {
      return outside.requests.filter(({ service }) => service === tool);
    },
    countOf: (effectId) => arrivalsOf(outside, tool, effectId),
  };
}

function arrivalsOf({ requests }: Outside, tool: string, effectId: string): number {
  return requests.filter(({ service, key, arrivedAtMs }) =>
    service === tool && key === effectId && arrivedAtMs !== undefined).length;
}

export interface MockPorts {
  readonly outside: Outside;
  readonly sender: SimProcess;
  /** Asked at each call: a test may mock a tool at any time. */
  findMock(tool: string): KnownMock | undefined;
}

/** The module of an agent, with tools that go to their mocks where there are any. */
export function withMocks(module: unknown, ports: MockPorts): unknown {
  if (!isShape(module) || !isShape(module["default"])) return module;
  const exported = module["default"];
  if (isShape(exported["tools"])) return { ...module, default: mockedAgent(exported, ports) };
  const agents: unknown = exported["agents"];
  if (!Array.isArray(agents)) return module;
  const mocked = (agents as readonly unknown[]).map((agent) => (isShape(agent) ? mockedAgent(agent, ports) : agent));
  return { ...module, default: { ...exported, agents: mocked } };
}

type Shape = Readonly<Record<string, unknown>>;

function mockedAgent(agent: Shape, ports: MockPorts): Shape {
  if (!isShape(agent["tools"])) return agent;
  const tools = Object.entries(agent["tools"]).map(([alias, tool]) => [alias, mockedTool(tool as Tool, ports)]);
  return { ...agent, tools: Object.fromEntries(tools) };
}

function mockedTool(tool: Tool, { outside, sender, findMock }: MockPorts): Tool {
  const { name, effect, reconcile, verify } = tool;
  const execute = (input: unknown, context: ToolContext): unknown => {
    const mock = findMock(name);
    if (mock === undefined) return tool.execute(input, context);
    const { effectId, signal } = context;
    const what = `${name} ${JSON.stringify(toCanonical(input))}`;
    const request = { service: name, what, input, key: effectId, isRead: effect === "read" };
    return outside.ask(sender, request, mock, signal);
  };
  const ask = async (
    input: unknown, context: Omit<ToolContext, "assertOwner">,
  ): Promise<Reconciled<unknown>> => {
    if (findMock(name) === undefined) return await (reconcile?.(input, context) ?? { status: "unknown" });
    const { effectId: key, signal } = context;
    const what = `${name} reconcile`;
    const request = { service: what, what, input, key, isRead: true };
    const serve = async (): Promise<Reconciled<unknown>> => {
      const answer = outside.answerOf(name, key);
      return answer === undefined ? { status: "not-done" } : { status: "done", result: await answer };
    };
    const answer = await outside.ask(sender, request, { serve, honoursKeys: false }, signal);
    return answer as Reconciled<unknown>;
  };
  const check: ToolVerifier<unknown, unknown>["check"] = (input, result, context) => {
    const mock = findMock(name);
    if (mock === undefined) return verify?.check(input, result, context) ?? true;
    return mock.verify?.(context.effectId) ?? true;
  };
  return {
    ...tool, execute, ...(reconcile !== undefined && { reconcile: ask }),
    ...(verify !== undefined && { verify: { ...verify, check } }),
  };
}

function isShape(value: unknown): value is Shape {
  return typeof value === "object" && value !== null;
}
