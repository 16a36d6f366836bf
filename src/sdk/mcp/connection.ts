// Owns: ONE MCP server as the tools of a worker share it: opened on first use, opened again when it is gone, what it
// offers. Does not own: the protocol (client-adapter.ts), what an answer means (answers.ts).
import { AetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { McpResult } from "./answers.ts";
import type { ResolvedServer } from "./server-options.ts";

export interface McpCall {
  readonly tool: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Absent for a question, which may be asked again. */
  readonly effectId?: string;
  /** From its first byte on. */
  readonly timeoutMs: number;
  /** Until then: for a server that has to be started. */
  readonly startMsMax: number;
  readonly signal: AbortSignal;
  /** Called right before the first byte of the call leaves. What it throws is thrown, and nothing was sent. */
  readonly beforeWrite: () => void;
}

/** What is wrong with the arguments of a call; undefined when nothing is. */
export type CheckArguments = (value: unknown) => string | undefined;

/** An open connection. */
export interface McpConnection {
  readonly isOpen: boolean;
  /** @throws McpRefusal for an error of the protocol; SessionEndedError; anything else when it is lost */
  call(call: McpCall): Promise<McpResult>;
  /** What the server offers, by name. */
  listTools(signal: AbortSignal): Promise<ReadonlyMap<string, CheckArguments>>;
  /** Takes nothing more, and ends when what is under way has ended. */
  retire(): void;
}

/** The connection gave an error of JSON-RPC. */
export class McpRefusal extends Error {
  override readonly name = "McpRefusal";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** The server does not know the session any more, and by the protocol has done nothing: a new one is to be begun. */
export class SessionEndedError extends Error {
  override readonly name = "SessionEnded";
}

export interface Limit {
  readonly signal: AbortSignal;
  clear(): void;
}

export interface McpConnectionPorts {
  /** Ends by itself after some time. */
  open(server: ResolvedServer): Promise<McpConnection>;
  nowMs(): number;
  sleep(delayMs: number): Promise<void>;
  /** Aborts after that time, or with `signal`. */
  limit(signal: AbortSignal, limitMs: number, reason: () => Error): Limit;
}

/** From the beginning of one attempt to open a connection that failed to the next. */
export const REOPEN_PAUSE_MS = 1 * SECOND_MS;

/** An open connection, and the tools that the server had when it was asked last. */
interface Open {
  readonly connection: McpConnection;
  tools: ReadonlyMap<string, CheckArguments>;
}

export class SharedConnection {
  private readonly what: string;
  private readonly ports: McpConnectionPorts;
  private current: Promise<Open> | undefined;
  private openedAtMs = Number.NEGATIVE_INFINITY;

  constructor(what: string, ports: McpConnectionPorts) {
    this.what = what;
    this.ports = ports;
  }

  /**
   * Calls a tool once. Where the server has forgotten the session, it is called in a new one: by the protocol nothing
   * was done.
   * @throws AetherError E_NOT_FOUND, E_INVALID, E_UNAVAILABLE before anything is sent; as `McpConnection.call`
   */
  async call(server: () => ResolvedServer, call: McpCall): Promise<McpResult> {
    try {
      return await this.callOnce(server, call);
    } catch (error) {
      if (!(error instanceof SessionEndedError)) throw error;
      return await this.callOnce(server, call);
    }
  }

  private async callOnce(server: () => ResolvedServer, call: McpCall): Promise<McpResult> {
    const { connection } = await this.ready(server, call);
    try {
      return await connection.call(call);
    } catch (error) {
      // Others may have been asked before it was forgotten, and be answered yet.
      if (error instanceof SessionEndedError) connection.retire();
      throw error;
    }
  }

  private async ready(server: () => ResolvedServer, call: McpCall): Promise<Open> {
    const { startMsMax } = call;
    const late = (): Error => this.absent(`it was not ready within ${startMsMax} ms`);
    const { signal, clear } = this.ports.limit(call.signal, startMsMax, late);
    try {
      const open = await this.opened(server, signal);
      await this.check(open, call, signal);
      return open;
    } finally {
      clear();
    }
  }

  private absent(why: string, cause?: unknown): AetherError {
    return new AetherError("E_UNAVAILABLE", `${this.what} is not there (${why}): nothing was sent`, {
      outcome: "not-applied", cause,
    });
  }

  private async opened(server: () => ResolvedServer, signal: AbortSignal): Promise<Open> {
    const known = this.current;
    const opened = await aborted(known ?? this.open(server), signal);
    if (opened.connection.isOpen) return opened;
    // Whoever finds first that it is gone opens the next one, for all.
    if (this.current === known) this.current = undefined;
    opened.connection.retire();
    return await aborted(this.current ?? this.open(server), signal);
  }

  private open(server: () => ResolvedServer): Promise<Open> {
    const opening = this.tryOpen(server);
    this.current = opening;
    opening.catch(() => {
      if (this.current === opening) this.current = undefined;
    });
    return opening;
  }

  private async tryOpen(server: () => ResolvedServer): Promise<Open> {
    // A missing secret is known at once.
    const resolved = server();
    await this.ports.sleep(Math.max(0, this.openedAtMs + REOPEN_PAUSE_MS - this.ports.nowMs()));
    this.openedAtMs = this.ports.nowMs();
    try {
      const connection = await this.ports.open(resolved);
      return { connection, tools: await listFirst(connection) };
    } catch (error) {
      throw this.absent(error instanceof Error ? error.message : String(error), error);
    }
  }

  /** What the server would refuse is not sent: so it is known that nothing has happened. */
  private async check(open: Open, { tool, arguments: value }: McpCall, signal: AbortSignal): Promise<void> {
    if (this.refusalOf(open, tool, value) === undefined) return;
    // It may have changed since.
    open.tools = await open.connection.listTools(signal);
    const refusal = this.refusalOf(open, tool, value);
    if (refusal !== undefined) throw refusal;
  }

  private refusalOf({ tools }: Open, tool: string, value: unknown): AetherError | undefined {
    const check = tools.get(tool);
    if (check === undefined) {
      const known = [...tools.keys()].slice(0, TOOLS_NAMED_MAX).join(", ");
      return new AetherError("E_NOT_FOUND", `${this.what} has no tool "${tool}"; it has: ${known}`);
    }
    const problem = check(value);
    if (problem === undefined) return undefined;
    return new AetherError("E_INVALID", `the input of the tool ${tool} is not what its server takes: ${problem}`);
  }
}

async function listFirst(connection: McpConnection): Promise<Open["tools"]> {
  try {
    // For all who wait for it: it ends with none of them.
    return await connection.listTools(new AbortController().signal);
  } catch (error) {
    connection.retire();
    throw error;
  }
}

/** In the message about one that is missing. */
const TOOLS_NAMED_MAX = 20;

/** What others wait for too goes on. */
function aborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
