// Owns: tools of agents that are tools of an MCP server. What each does to the world is the word of who lists it: what
// a server says of its tools (`readOnlyHint` and the like) is a hint that nobody can check, and decides nothing.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import { TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX } from "../call-timeouts.ts";
import {
  defineTool, notDone, type Reconciled, type Tool, type ToolContext, type ToolEffect, type ToolVerifier,
} from "../tool.ts";
import type { ApprovalRule } from "../tool-approval.ts";
import {
  answerOf, failureError, failureOf, mcpAnswerSchema, said, valueOf, type McpFailure, type McpResult,
} from "./answers.ts";
import { createMcpPorts } from "./client-adapter.ts";
import { McpRefusal, SharedConnection, type McpCall } from "./connection.ts";
import {
  checkServer, describeServer, resolveServer, secretsOf, type McpServer, type ResolvedServer,
} from "./server-options.ts";

const anyInput = z.record(z.string(), z.unknown());
type AnyInput = typeof anyInput;
type AnyOutput = typeof mcpAnswerSchema;

export interface McpReconcileContext extends Pick<ToolContext, "effectId" | "signal" | "secret"> {
  /** Asks a tool of the same server: one that only reads. What it answers is as for a tool with `output`. */
  ask(tool: string, input: Readonly<Record<string, unknown>>): Promise<unknown>;
}

export interface McpTool {
  /** Its name at the server. Default: the name under which it is listed. */
  readonly tool?: string;
  readonly description?: string;
  /** What calling it twice would do. Default: `once`. */
  readonly effect?: ToolEffect;
  /** Default: any object; what the server takes is checked by the server's own schema when it is called. */
  readonly input?: z.ZodType;
  /**
   * Of the structured content of the answer, or of its text where the server gives none: as JSON, if it is some.
   * Default: the whole answer, `{ content, structuredContent? }`.
   */
  readonly output?: z.ZodType;
  /** How long the server may take to answer. Default 15,000 ms. */
  readonly timeoutMs?: number;
  /** A field of the input in which the server takes the effect id, as its idempotency key. */
  readonly effectIdField?: string;
  readonly approval?: ApprovalRule<unknown>;
  readonly rate?: { readonly perSecond: number; readonly burst?: number };
  /** Calls under way at once in the whole cluster, see `defineTool`. */
  readonly maxConcurrent?: number;
  /** With `reconcile`, see `defineTool`. */
  readonly settleMs?: number;
  /** Whether the world outside still agrees with what is recorded of a call, see `defineTool`. */
  readonly verify?: ToolVerifier<unknown, unknown>;
  /** Whether a failure that the server tells says that nothing has happened. Default: no failure does. */
  notDone?(failure: McpFailure): boolean;
  /** What became of a call; for tools of effect `once`. */
  reconcile?(input: unknown, context: McpReconcileContext): Promise<Reconciled<unknown>> | Reconciled<unknown>;
}

export interface McpToolsOptions<T extends Readonly<Record<string, McpTool>>> {
  readonly server: McpServer;
  /** By the names that the agent has for them. */
  readonly tools: T;
  /** How long the server may take to start. Default 30,000 ms. */
  readonly startMsMax?: number;
}

type SchemaOf<D, F extends "input" | "output", Default extends z.ZodType> =
  D extends Readonly<Record<F, infer S extends z.ZodType>> ? S : Default;

export type McpTools<T> = {
  readonly [K in keyof T & string]: Tool<K, SchemaOf<T[K], "input", AnyInput>, SchemaOf<T[K], "output", AnyOutput>>;
};

/** For a program that has to be fetched first, as `npx` does. */
export const START_MS_MAX = 30 * SECOND_MS;

/**
 * Tools of an MCP server, for `tools` of `defineAgent`. They go through the same ledger as any tool. The server is
 * started, or connected to, when one of them is called first, once for each worker.
 * @throws AetherError E_INVALID for an unusable server, and as `defineTool`
 * @example
 * const issues = mcpTools({
 *   server: { command: "issue-server", env: { TOKEN: secret("issues-token") } },
 *   tools: {
 *     search: { effect: "read", input: z.object({ text: z.string() }) },
 *     create_issue: {
 *       reconcile: async (_input, { effectId, ask }) => {
 *         const found = z.array(z.unknown()).parse(await ask("search", { text: effectId }));
 *         return found.length > 0 ? { status: "done", result: found[0] } : { status: "not-done" };
 *       },
 *     },
 *   },
 * });
 */
export function mcpTools<const T extends Readonly<Record<string, McpTool>>>(
  { server, tools, startMsMax = START_MS_MAX }: McpToolsOptions<T>,
): McpTools<T> {
  checkServer(server);
  if (!Number.isInteger(startMsMax) || startMsMax < 1 || startMsMax > TIMEOUT_MS_MAX) {
    throw new AetherError("E_INVALID", `an MCP server has startMsMax ${startMsMax}; use 1 to ${TIMEOUT_MS_MAX}`);
  }
  const connection = new SharedConnection(describeServer(server), createMcpPorts(startMsMax));
  const shared: Shared = { server, connection, startMsMax };
  const defined = Object.entries(tools).map(([name, tool]) => [name, defineOne(shared, name, tool)] as const);
  // Each has the schemas that its entry names, or the defaults.
  return Object.fromEntries(defined) as unknown as McpTools<T>;
}

interface Shared {
  readonly server: McpServer;
  readonly connection: SharedConnection;
  readonly startMsMax: number;
}

function defineOne(shared: Shared, name: string, definition: McpTool): Tool {
  const {
    tool = name, effect = "once", input = anyInput, output, timeoutMs = TIMEOUT_MS_DEFAULT, effectIdField,
    notDone: saysNotDone, reconcile, ...rest
  } = definition;
  const target: Target = { ...shared, tool, timeoutMs, ...(saysNotDone !== undefined && { saysNotDone }) };
  return defineTool({
    ...rest,
    name,
    input,
    output: output ?? mcpAnswerSchema,
    effect,
    secrets: secretsOf(shared.server),
    // What waits for the server to start has not been sent, and has a time of its own.
    timeoutMs: timeoutMs + shared.startMsMax,
    execute: async (data, context) => {
      const key = effectIdField === undefined ? {} : { [effectIdField]: context.effectId };
      const result = await dispatch(target, { ...(data as object), ...key }, context);
      return output === undefined ? answerOf(result) : valueOf(result);
    },
    ...(reconcile !== undefined && {
      reconcile: (data, context) => reconcile(data, {
        ...context, ask: (other, question) => ask({ ...target, tool: other }, question, context),
      }),
    }),
  });
}

interface Target extends Shared {
  readonly tool: string;
  readonly timeoutMs: number;
  readonly saysNotDone?: (failure: McpFailure) => boolean;
}

/** One dispatch: what fails before the first byte of it leaves has not happened. */
async function dispatch(
  target: Target, given: Readonly<Record<string, unknown>>, context: ToolContext,
): Promise<McpResult> {
  const { effectId } = context;
  let isSent = false;
  const beforeWrite = (): void => {
    context.assertOwner();
    isSent = true;
  };
  try {
    const result = await send(target, { given, effectId, beforeWrite }, context);
    if (!result.isError) return result;
    throw failed(target, failureOf(result));
  } catch (error) {
    if (error instanceof McpRefusal) throw failed(target, { text: said(error.message), code: error.code });
    throw isSent ? error : notDone(error);
  }
}

/** A question that may be asked twice. */
async function ask(
  target: Target, given: Readonly<Record<string, unknown>>, context: Pick<ToolContext, "signal" | "secret">,
): Promise<unknown> {
  const result = await send(target, { given, beforeWrite: () => undefined }, context);
  if (result.isError) throw failureError(target.tool, failureOf(result));
  return valueOf(result);
}

function send(
  { server, connection, startMsMax, tool, timeoutMs }: Target,
  { given, ...call }: Pick<McpCall, "effectId" | "beforeWrite"> & { readonly given: Readonly<Record<string, unknown>> },
  { signal, secret }: Pick<ToolContext, "signal" | "secret">,
): Promise<McpResult> {
  const resolved = (): ResolvedServer => resolveServer(server, secret);
  return connection.call(resolved, { ...call, tool, arguments: given, timeoutMs, startMsMax, signal });
}

function failed({ tool, saysNotDone }: Target, failure: McpFailure): Error {
  const error = failureError(tool, failure);
  return saysNotDone?.(failure) === true ? notDone(error) : error;
}
