// Owns: connections to MCP servers through the official SDK, over the input and output of a process or over HTTP.
// Does not own: when one is opened (connection.ts), the HTTP requests (fetch-adapter.ts).
//
// The SDK's own `callTool` is not used: it takes an answer that does not fit the server's schema for an error, and a
// call that was answered has happened.
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { getDefaultEnvironment, StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { CallToolResultSchema, ErrorCode, ListToolsResultSchema, McpError } from "@modelcontextprotocol/sdk/types.js";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv";
import { AetherError } from "../../base/errors.ts";
import { MINUTE_MS } from "../../base/units.ts";
import { ANSWER_BYTES_MAX } from "../http/answers.ts";
import { SDK_VERSION } from "../version.ts";
import { mcpAnswerSchema, said, type McpResult } from "./answers.ts";
import {
  McpRefusal, type CheckArguments, type Limit, type McpCall, type McpConnection, type McpConnectionPorts,
} from "./connection.ts";
import { createMcpFetch, EFFECT_ID_META, type CallUnderWay } from "./fetch-adapter.ts";
import type { ResolvedServer } from "./server-options.ts";

/** Where a program is looked for when the worker was not told. */
const PATH_DEFAULT = "/usr/local/bin:/usr/bin:/bin";
/** Lines of the log about what a server says that is no message, for one connection. */
const COMPLAINTS_MAX = 10;
const COMPLAINT_LENGTH_MAX = 200;
/** Pages of the list of tools that are read. */
export const TOOL_PAGES_MAX = 100;

/** `startMsMax`: how long a server may take until it answers. */
export function createMcpPorts(startMsMax: number): McpConnectionPorts {
  return {
    open: (server) => openConnection(server, startMsMax),
    nowMs: () => performance.now(),
    sleep: (delayMs) => (delayMs > 0 ? sleep(delayMs) : Promise.resolve()),
    limit: limitOf,
  };
}

function limitOf(signal: AbortSignal, limitMs: number, reason: () => Error): Limit {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(reason()), limitMs);
  return { signal: AbortSignal.any([signal, limit.signal]), clear: () => clearTimeout(timer) };
}

async function openConnection(server: ResolvedServer, startMsMax: number): Promise<McpConnection> {
  const underWay = new Map<string, CallUnderWay>();
  const client = new Client({ name: "aether", version: SDK_VERSION });
  const connection = new ClientConnection(client, underWay, startMsMax);
  await client.connect(transportFor(server, underWay), { timeout: startMsMax });
  return connection;
}

function transportFor(server: ResolvedServer, underWay: ReadonlyMap<string, CallUnderWay>): Transport {
  if (server.kind === "http") {
    return new StreamableHTTPClientTransport(new URL(server.url), {
      fetch: createMcpFetch(underWay), requestInit: { headers: { ...server.headers } },
    });
  }
  const { command, args, env, cwd } = server;
  const transport = new StdioClientTransport({
    command, args: [...args], env: { PATH: PATH_DEFAULT, ...getDefaultEnvironment(), ...env }, stderr: "pipe",
    maxBufferSize: ANSWER_BYTES_MAX, ...(cwd !== undefined && { cwd }),
  });
  // The output of the worker is what the node keeps as the slice's log, within its bounds.
  transport.stderr?.on("data", (chunk: Uint8Array) => void process.stderr.write(chunk));
  return transport;
}

type JsonSchema = Parameters<AjvJsonSchemaValidator["getValidator"]>[0];

class ClientConnection implements McpConnection {
  private isClosed = false;
  private requests = 0;
  private complaints = 0;
  private readonly client: Client;
  private readonly underWay: Map<string, CallUnderWay>;
  private readonly listMsMax: number;
  private readonly validator = new AjvJsonSchemaValidator();

  constructor(client: Client, underWay: Map<string, CallUnderWay>, listMsMax: number) {
    this.client = client;
    this.underWay = underWay;
    this.listMsMax = listMsMax;
    client.onclose = () => void (this.isClosed = true);
    // What is no message of the protocol is left out; a connection that is lost ends with `onclose`.
    client.onerror = (error) => this.complain(error.message);
  }

  get isOpen(): boolean {
    return !this.isClosed && this.hasServer;
  }

  call(call: McpCall): Promise<McpResult> {
    return this.whileUsed(() => this.callOnce(call));
  }

  listTools(signal: AbortSignal): Promise<ReadonlyMap<string, CheckArguments>> {
    return this.whileUsed(() => this.readTools(signal));
  }

  retire(): void {
    this.isClosed = true;
    // ignored: nobody waits for the end of what is given up.
    if (this.requests === 0 || !this.hasServer) this.client.close().catch(() => undefined);
  }

  private async whileUsed<T>(work: () => Promise<T>): Promise<T> {
    this.requests += 1;
    try {
      return await work();
    } finally {
      this.requests -= 1;
      if (this.isClosed) this.retire();
    }
  }

  /** Of a process that has ended nobody hears while another one, which it has started, has its output. */
  private get hasServer(): boolean {
    const { transport } = this.client;
    if (!(transport instanceof StdioClientTransport)) return true;
    // One that is being ended takes nothing any more, and has no number.
    return transport.pid !== null && isRunning(transport.pid);
  }

  private async callOnce(call: McpCall): Promise<McpResult> {
    const { tool: name, arguments: args, effectId, timeoutMs } = call;
    const { signal, clear } = limitOf(call.signal, timeoutMs, () => expiry(name, timeoutMs));
    const meta = effectId === undefined ? {} : { _meta: { [EFFECT_ID_META]: effectId } };
    const isOverHttp = this.client.transport instanceof StreamableHTTPClientTransport;
    const over = new AbortController();
    if (effectId !== undefined) this.underWay.set(effectId, { call: { ...call, signal }, over: over.signal });
    try {
      if (!this.isOpen) throw new AetherError("E_UNAVAILABLE", "the server has ended: nothing was sent");
      // Over HTTP the request asks when its connection stands; a process gets it at once.
      if (!isOverHttp) call.beforeWrite();
      const request = { method: "tools/call" as const, params: { name, arguments: { ...args }, ...meta } };
      const answer = await this.client.request(request, CallToolResultSchema, {
        signal, timeout: timeoutMs + MINUTE_MS,
      });
      return { ...mcpAnswerSchema.parse(answer), isError: answer.isError === true };
    } catch (error) {
      throw signal.aborted ? signal.reason : translated(error);
    } finally {
      clear();
      // A server may keep its answer open for ever.
      over.abort();
      if (effectId !== undefined) this.underWay.delete(effectId);
    }
  }

  private async readTools(signal: AbortSignal): Promise<ReadonlyMap<string, CheckArguments>> {
    const tools = new Map<string, CheckArguments>();
    let cursor: string | undefined;
    for (let page = 0; page < TOOL_PAGES_MAX; page += 1) {
      const params = cursor === undefined ? {} : { cursor };
      const listed = await this.client.request({ method: "tools/list", params }, ListToolsResultSchema, {
        signal, timeout: this.listMsMax,
      });
      for (const { name, inputSchema } of listed.tools) tools.set(name, this.checkFor(inputSchema as JsonSchema));
      cursor = listed.nextCursor;
      if (cursor === undefined) break;
    }
    return tools;
  }

  private complain(text: string): void {
    this.complaints += 1;
    if (this.complaints > COMPLAINTS_MAX) return;
    process.stderr.write(`MCP server: ${said(text).slice(0, COMPLAINT_LENGTH_MAX)}\n`);
  }

  /** Made when it is needed: most tools of a server are never called. */
  private checkFor(schema: JsonSchema): CheckArguments {
    let check: CheckArguments | undefined;
    return (value) => {
      check ??= this.compile(schema);
      return check(value);
    };
  }

  private compile(schema: JsonSchema): CheckArguments {
    try {
      const validate = this.validator.getValidator(schema);
      return (value) => {
        const { valid, errorMessage } = validate(value);
        return valid ? undefined : (errorMessage ?? "its schema does not say why");
      };
    } catch {
      // ignored: a schema of another dialect is for its server to judge.
      return () => undefined;
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // ignored: it is there, and another user's.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function expiry(tool: string, timeoutMs: number): AetherError {
  return new AetherError("E_TIMEOUT", `the tool ${tool} did not answer within ${timeoutMs} ms`);
}

/** `ConnectionClosed` and `RequestTimeout` are the SDK's own, the others are said by the server. */
function translated(error: unknown): unknown {
  if (!(error instanceof McpError)) return error;
  if (error.code === ErrorCode.RequestTimeout) return new AetherError("E_TIMEOUT", error.message);
  if (error.code === ErrorCode.ConnectionClosed) {
    return new AetherError("E_UNAVAILABLE", "the MCP server ended before it answered", { outcome: "unknown" });
  }
  return new McpRefusal(error.code, error.message);
}
