// Slow. Tools of real MCP servers, over the input and output of a process and over HTTP: what their answers and
// failures mean for the ledger, and that one process serves all calls.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../src/base/errors.ts";
import { ANSWER_BYTES_MAX } from "../../src/sdk/http/answers.ts";
import { mcpTools, type McpServer, type McpTool } from "../../src/sdk/mcp/index.ts";
import { secret, type Secret } from "../../src/sdk/secret.ts";
import type { Tool } from "../../src/sdk/tool.ts";
import { eventually } from "../support/node-fleet.ts";
import { openWebServer } from "../support/web-server.ts";

const PROGRAM = fileURLToPath(new URL("../support/mcp-server.mjs", import.meta.url));
const KEY = "key-0123456789";

let directory: string;
let outside: string;
const servers: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "aether-mcp-"));
  outside = join(directory, "outside");
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

afterAll(() => {
  for (const server of servers) server.kill("SIGKILL");
});

type Note = Readonly<Record<string, unknown>>;

function notes(): readonly Note[] {
  return readFileSync(outside, "utf8").trim().split("\n").map((line) => JSON.parse(line) as Note);
}

const paid = (): readonly Note[] => notes().filter((one) => one["paid"] !== undefined);

function stdio(env: Readonly<Record<string, string | Secret>> = {}): McpServer {
  return { command: process.execPath, args: [PROGRAM], env: { OUTSIDE: outside, ...env } };
}

function program(code: string): McpServer {
  return { command: process.execPath, args: ["-e", code] };
}

async function openHttp(port = 0): Promise<{ readonly url: string; readonly process: ChildProcess }> {
  const child = spawn(process.execPath, [PROGRAM, "--http", String(port)], { env: { OUTSIDE: outside } });
  servers.push(child);
  const line = await new Promise<Buffer>((resolve) => child.stdout.once("data", resolve));
  return { url: `http://127.0.0.1:${/port (\d+)/.exec(String(line))?.[1] ?? ""}/mcp`, process: child };
}

interface CallOptions {
  readonly effectId?: string;
  readonly signal?: AbortSignal;
  readonly assertOwner?: () => void;
}

async function call(tool: Tool, input: unknown, options: CallOptions = {}): Promise<unknown> {
  const { effectId = "e-1", signal = new AbortController().signal, assertOwner = () => undefined } = options;
  return await tool.execute(tool.input.parse(input), { effectId, signal, assertOwner, secret: () => KEY });
}

const receipt = z.object({ receipt: z.string() });
const foundSchema = z.object({ found: z.array(z.object({ paid: z.string() })) });
const askedSchema = z.object({ id: z.unknown().optional(), method: z.string().default("") });
const PAY = { output: receipt } satisfies McpTool;

/** What the ledger makes of it: `notDone` has not happened. */
const NOT_DONE = { isNotDone: true };

async function failureOf(given: Promise<unknown>): Promise<unknown> {
  return await given.then((value) => expect.fail(`it answered ${JSON.stringify(value)}`), (error: unknown) => error);
}

describe.each(["stdio", "http"] as const)("a tool of an MCP server over %s", (kind) => {
  async function serverOf(): Promise<McpServer> {
    return kind === "stdio" ? stdio() : { url: (await openHttp()).url };
  }

  test("answers its structured content, and is given the effect id", async () => {
    const { pay } = mcpTools({ server: await serverOf(), tools: { pay: { ...PAY, effectIdField: "token" } } });
    expect(await call(pay, { order: "o-1" })).toEqual({ receipt: "r-o-1" });
    expect(paid()).toMatchObject([{ paid: "o-1", effectId: "e-1", token: "e-1" }]);
  });

  test("answers what the protocol has where nothing else is said", async () => {
    const { find } = mcpTools({ server: await serverOf(), tools: { find: { effect: "read" } } });
    const text = '{"found":[]}';
    expect(await call(find, { effectId: "e-9" })).toEqual({ content: [{ type: "text", text }] });
  });

  test("answers its text as JSON where it has no structured content", async () => {
    const output = z.object({ found: z.array(z.unknown()) });
    const { find } = mcpTools({ server: await serverOf(), tools: { find: { effect: "read", output } } });
    expect(await call(find, { effectId: "e-9" })).toEqual({ found: [] });
  });

  test("that fails leaves unknown what it did, unless its owner says what that means", async () => {
    const payable = { ...PAY, notDone: ({ text }) => text.startsWith("not done") } satisfies McpTool;
    const { pay } = mcpTools({ server: await serverOf(), tools: { pay: payable } });
    const failed = await failureOf(call(pay, { order: "o-1", then: "fails" }));
    expect(failed).toMatchObject({ code: "E_HANDLER", message: "the tool pay failed: the bank said maybe" });
    expect(failed).not.toMatchObject(NOT_DONE);
    expect(await failureOf(call(pay, { order: "o-2", then: "refuses" }))).toMatchObject(NOT_DONE);
  });

  test("is not called with what its server would refuse", async () => {
    const { pay, away } = mcpTools({ server: await serverOf(), tools: { pay: PAY, away: { tool: "not-there" } } });
    const refused = await failureOf(call(pay, { order: 7 }));
    expect(refused).toMatchObject({ ...NOT_DONE, message: expect.stringMatching(/order must be string/) as unknown });
    expect(await failureOf(call(away, {}))).toMatchObject({
      ...NOT_DONE, message: expect.stringMatching(/has no tool "not-there"; it has: pay, find/) as unknown,
    });
    expect(notes()).toHaveLength(1);
  });

  test("is not called any more once the job may be another node's", async () => {
    const { pay } = mcpTools({ server: await serverOf(), tools: { pay: PAY } });
    const assertOwner = (): void => {
      throw new AetherError("E_FENCED", "not ours");
    };
    expect(await failureOf(call(pay, { order: "o-1" }, { assertOwner }))).toMatchObject(NOT_DONE);
    expect(paid()).toEqual([]);
  });

  test("that hangs is told to stop when its time is over, and others are served meanwhile", async () => {
    const { pay } = mcpTools({ server: await serverOf(), tools: { pay: { ...PAY, timeoutMs: 1_000 } } });
    await call(pay, { order: "o-0" });
    const hanging = failureOf(call(pay, { order: "o-1", then: "hangs" }));
    expect(await call(pay, { order: "o-2" }, { effectId: "e-2" })).toEqual({ receipt: "r-o-2" });
    const failed = await hanging;
    expect(failed).toMatchObject({ code: "E_TIMEOUT" });
    expect(failed).not.toMatchObject(NOT_DONE);
    await eventually("the server hears of it", () => notes().find((one) => one["cancelled"] === "o-1"));
    expect(notes().filter((one) => one["started"] === true)).toHaveLength(1);
  });

  test("is told to stop when the job is cancelled", async () => {
    const { pay } = mcpTools({ server: await serverOf(), tools: { pay: PAY } });
    const controller = new AbortController();
    const failed = failureOf(call(pay, { order: "o-1", then: "hangs" }, { signal: controller.signal }));
    await eventually("it is called", () => paid()[0], 10_000);
    controller.abort(new RangeError("enough"));
    expect(await failed).toMatchObject({ message: "enough" });
    await eventually("the server hears of it", () => notes().find((one) => one["cancelled"] === "o-1"));
  });

  test("that dies in mid-call leaves unknown what it did", async () => {
    const server = await serverOf();
    const { pay } = mcpTools({ server, tools: { pay: { ...PAY, timeoutMs: 3_000 } } });
    const failed = await failureOf(call(pay, { order: "o-1", then: "dies" }));
    expect(failed).toMatchObject({ code: expect.stringMatching(/E_UNAVAILABLE|E_TIMEOUT/) as unknown });
    expect(failed).not.toMatchObject(NOT_DONE);
    expect(paid()).toHaveLength(1);
  });

  test("that says too much is cut off", async () => {
    const { huge } = mcpTools({ server: await serverOf(), tools: { huge: { effect: "read", timeoutMs: 5_000 } } });
    await failureOf(call(huge, { bytes: ANSWER_BYTES_MAX + 1 }));
    const text = "x".repeat(1_000);
    expect(await call(huge, { bytes: 1_000 })).toEqual({ content: [{ type: "text", text }] });
  });
});

describe("a process that is an MCP server", () => {
  test("is started on first use, once for calls at the same time, and again when it has died", async () => {
    const { pid, pay } = mcpTools({ server: stdio(), tools: { pid: { effect: "read", output: z.int() }, pay: PAY } });
    const pids = await Promise.all([1, 2, 3].map(() => call(pid, {})));
    expect(new Set(pids).size).toBe(1);
    await failureOf(call(pay, { order: "o-1", then: "dies" }));
    const [again] = await Promise.all([call(pid, {}), call(pid, {})]);
    expect(again).not.toBe(pids[0]);
    expect(notes().filter((one) => one["started"] === true)).toHaveLength(2);
  });

  test("is started again when it has died, whoever has its output still", async () => {
    const { pay } = mcpTools({ server: stdio(), tools: { pay: { ...PAY, timeoutMs: 2_000 } } });
    const failed = await failureOf(call(pay, { order: "o-1", then: "leaves" }));
    expect(failed).not.toMatchObject(NOT_DONE);
    const left = await eventually("it has left something", () => notes().find((one) => one["left"] !== undefined));
    try {
      expect(await call(pay, { order: "o-2" }, { effectId: "e-2" })).toEqual({ receipt: "r-o-2" });
    } finally {
      process.kill(Number(left["left"]), "SIGKILL");
    }
  });

  test("may print what is no message", async () => {
    const server = stdio({ GREETING: "Welcome!" });
    const { garbage } = mcpTools({ server, tools: { garbage: { effect: "read", output: z.string() } } });
    expect(await call(garbage, {})).toBe("after all");
  });

  test("may take its time to start, which is not that of the call", async () => {
    const { pay } = mcpTools({ server: stdio({ START_MS: "1500" }), tools: { pay: { ...PAY, timeoutMs: 1_000 } } });
    expect(pay.timeoutMs).toBe(31_000);
    expect(await call(pay, { order: "o-1" })).toEqual({ receipt: "r-o-1" });
  });

  test.each([
    ["does not start in time", () => stdio({ START_MS: "60000" }), /timed out|not ready within 500 ms/],
    ["is not there", (): McpServer => ({ command: "/not/there" }), /ENOENT/],
    ["ends at once", () => program("0"), /is not there/],
    ["speaks something else", () => program("setInterval(() => console.log('hi'), 9)"), /is not there/],
  ])("that %s was sent nothing", async (_what, server, message) => {
    const { pay } = mcpTools({ server: server(), tools: { pay: PAY }, startMsMax: 500 });
    expect(await failureOf(call(pay, { order: "o-1" }))).toMatchObject({
      ...NOT_DONE, message: expect.stringMatching(message) as unknown,
    });
  });

  test("gets the secrets that it names, and what it reconciles asks the same server", async () => {
    const { pay } = mcpTools({
      server: stdio({ KEY: secret("bank-key") }),
      tools: {
        pay: {
          ...PAY,
          reconcile: async (_input, { effectId, ask }) => {
            const [first] = foundSchema.parse(await ask("find", { effectId })).found;
            if (first === undefined) return { status: "not-done" };
            return { status: "done", result: { receipt: `r-${first.paid}` } };
          },
        },
      },
    });
    expect(pay.secrets).toEqual([secret("bank-key")]);
    expect(await failureOf(call(pay, { order: "o-1", then: "blabs" }))).toMatchObject({
      message: expect.stringContaining(KEY) as unknown,
    });
    const context = { effectId: "e-1", signal: new AbortController().signal, secret: () => KEY };
    expect(await pay.reconcile?.({}, context)).toEqual({ status: "done", result: { receipt: "r-o-1" } });
    expect(await pay.reconcile?.({}, { ...context, effectId: "e-2" })).toEqual({ status: "not-done" });
  });
});

describe("an MCP server over HTTP", () => {
  test("gets its key, and the effect id as idempotency key", async () => {
    const { url } = await openHttp();
    const server = { url, bearer: secret("bank-key"), headers: { "x-tenant": "t" } };
    const { pay } = mcpTools({ server, tools: { pay: PAY } });
    await call(pay, { order: "o-1" });
    expect(paid()).toMatchObject([{ authorization: `Bearer ${KEY}` }]);
  });

  test("that has forgotten the session gets the call in a new one, once", async () => {
    const { url, process: server } = await openHttp();
    const { pay } = mcpTools({ server: { url }, tools: { pay: PAY } });
    await call(pay, { order: "o-1" });
    server.kill("SIGUSR2");
    await eventually("it has forgotten", async () => {
      const answer = await fetch(url, { method: "POST", headers: { "mcp-session-id": "none" } });
      return answer.status === 404 || undefined;
    });
    await call(pay, { order: "o-2" }, { effectId: "e-2" });
    expect(paid()).toMatchObject([{ paid: "o-1" }, { paid: "o-2", effectId: "e-2" }]);
  });

  test("that has forgotten the session answers what it was asked in it", async () => {
    const { url, process: server } = await openHttp();
    const { pay } = mcpTools({ server: { url }, tools: { pay: PAY } });
    const slow = call(pay, { order: "o-1", then: "slow" });
    await eventually("it was called", () => paid()[0], 10_000);
    server.kill("SIGUSR2");
    await eventually("it has forgotten", async () => {
      const answer = await fetch(url, { method: "POST", headers: { "mcp-session-id": "none" } });
      return answer.status === 404 || undefined;
    });
    await call(pay, { order: "o-2" }, { effectId: "e-2" });
    expect(await slow).toEqual({ receipt: "r-o-1" });
    expect(paid()).toHaveLength(2);
  });

  test("that ends no answer is heard, and let go of", async () => {
    const open = new Set<ServerResponse>();
    const tools = [{ name: "pay", inputSchema: { type: "object" } }];
    const initialized = {
      protocolVersion: "2025-03-26", capabilities: { tools: {} }, serverInfo: { name: "bank", version: "1" },
    };
    const results: Readonly<Record<string, unknown>> = {
      "initialize": initialized, "tools/list": { tools }, "tools/call": { content: [{ type: "text", text: "paid" }] },
    };
    const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const { id, method } = askedSchema.parse(JSON.parse(await text(request) || "{}"));
      const result = results[method];
      if (result === undefined) return void response.writeHead(method === "" ? 405 : 202).end();
      response.writeHead(200, { "content-type": "text/event-stream" });
      open.add(response);
      response.on("close", () => open.delete(response));
      response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", id, result })}\n\n`);
    };
    const http = await openWebServer((request, response) => void answer(request, response));
    const { pay } = mcpTools({ server: { url: http.url }, tools: { pay: { output: z.string() } } });
    expect(await call(pay, {})).toBe("paid");
    const before = open.size;
    for (let n = 1; n <= 5; n++) expect(await call(pay, {}, { effectId: `e-${n}` })).toBe("paid");
    await eventually("it lets go of them", () => open.size <= before || undefined);
    http.close();
  });

  test("that nobody is at was sent nothing, and is found when it is there", async () => {
    const { url, process: server } = await openHttp();
    server.kill("SIGKILL");
    await new Promise((resolve) => server.once("exit", resolve));
    const { pay } = mcpTools({ server: { url }, tools: { pay: PAY } });
    expect(await failureOf(call(pay, { order: "o-1" }))).toMatchObject(NOT_DONE);
    await openHttp(Number(new URL(url).port));
    expect(await call(pay, { order: "o-1" })).toEqual({ receipt: "r-o-1" });
  });

  test.each([[401], [500], [307]])("that answers %i does not start", async (status) => {
    const headers = { location: "http://127.0.0.1:1/" };
    const http = await openWebServer((_request, response) => response.writeHead(status, headers).end());
    const { pay } = mcpTools({ server: { url: http.url }, tools: { pay: PAY } });
    expect(await failureOf(call(pay, { order: "o-1" }))).toMatchObject(NOT_DONE);
    http.close();
  });
});

describe("what cannot be a server or its tool is refused at once", () => {
  test.each([
    ["no command", { server: { command: "" }, tools: {} }, /no command/],
    ["no address", { server: { url: "bank" }, tools: {} }, /http:/],
    ["a password in its address", { server: { url: "http://a:b@bank/" }, tools: {} }, /bearer/],
    ["no time to start", { server: { command: "a" }, tools: {}, startMsMax: 0 }, /startMsMax/],
    ["an unusable name", { server: { command: "a" }, tools: { "a b": {} } }, /name of a tool/],
  ])("%s", (_what, options, message) => {
    expect(() => mcpTools(options)).toThrow(message);
  });
});
