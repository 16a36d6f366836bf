// Owns: one MCP server as the tools of a worker share it: when it is opened, and what is sent to it.
import { expect, test } from "vitest";
import {
  McpRefusal, REOPEN_PAUSE_MS, SessionEndedError, SharedConnection,
  type CheckArguments, type McpCall, type McpConnection,
} from "../../../../src/sdk/mcp/connection.ts";
import type { McpResult } from "../../../../src/sdk/mcp/answers.ts";
import type { ResolvedServer } from "../../../../src/sdk/mcp/server-options.ts";

const SERVER: ResolvedServer = { kind: "http", url: "http://bank/", headers: {} };
const DONE: McpResult = { content: [], isError: false };

interface FakeServer {
  readonly shared: SharedConnection;
  readonly log: string[];
  tools: Record<string, CheckArguments>;
  /** What the next attempts to open it fail with. */
  readonly refusals: Error[];
  /** What the next calls fail with. */
  readonly failures: Error[];
  /** The newest connection is gone. */
  drop(): void;
}

function fakeServer(): FakeServer {
  let nowMs = 0;
  const open: { isOpen: boolean }[] = [];
  const log: string[] = [];
  const connect = (): McpConnection => {
    const state = { isOpen: true };
    open.push(state);
    return {
      get isOpen() {
        return state.isOpen;
      },
      call: ({ tool }) => {
        log.push(`call ${tool}`);
        const failure = server.failures.shift();
        return failure === undefined ? Promise.resolve(DONE) : Promise.reject(failure);
      },
      listTools: () => {
        log.push("list");
        return Promise.resolve(new Map(Object.entries(server.tools)));
      },
      retire: () => {
        log.push("retire");
        state.isOpen = false;
      },
    };
  };
  const server: FakeServer = {
    log,
    tools: { pay: () => undefined },
    refusals: [],
    failures: [],
    drop: () => Object.assign(open.at(-1) ?? {}, { isOpen: false }),
    shared: new SharedConnection("the bank", {
      open: () => {
        log.push(`open at ${nowMs}`);
        const refusal = server.refusals.shift();
        return refusal === undefined ? Promise.resolve(connect()) : Promise.reject(refusal);
      },
      nowMs: () => nowMs,
      sleep: (delayMs) => {
        nowMs += delayMs;
        return Promise.resolve();
      },
      limit: (signal) => ({ signal, clear: () => undefined }),
    }),
  };
  return server;
}

function call(server: FakeServer, tool = "pay", signal = new AbortController().signal): Promise<McpResult> {
  const given: McpCall = {
    tool, arguments: { order: 1 }, timeoutMs: 1_000, startMsMax: 1_000, signal, beforeWrite: () => undefined,
  };
  return server.shared.call(() => SERVER, given);
}

test("calls at the same time share one connection, and later ones too", async () => {
  const server = fakeServer();
  await Promise.all([call(server), call(server)]);
  await call(server);
  expect(server.log).toEqual(["open at 0", "list", "call pay", "call pay", "call pay"]);
});

test("a connection that is gone is opened once more, for all", async () => {
  const server = fakeServer();
  await call(server);
  server.drop();
  await Promise.all([call(server), call(server)]);
  expect(server.log.filter((line) => line.startsWith("open"))).toEqual(["open at 0", `open at ${REOPEN_PAUSE_MS}`]);
});

test("one that fails to open is tried again, not more often than once in a while", async () => {
  const server = fakeServer();
  server.refusals.push(new Error("nobody there"), new Error("nobody there"));
  await expect(call(server)).rejects.toMatchObject({ code: "E_UNAVAILABLE", message: /the bank is not there \(nobody/ });
  await expect(call(server)).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
  expect(await call(server)).toEqual(DONE);
  expect(server.log.slice(0, 3)).toEqual(["open at 0", `open at ${REOPEN_PAUSE_MS}`, `open at ${2 * REOPEN_PAUSE_MS}`]);
});

test("who stops waiting for it does not stop it for the others", async () => {
  const server = fakeServer();
  const controller = new AbortController();
  const [given, up] = [call(server), call(server, "pay", controller.signal)];
  controller.abort(new RangeError("enough"));
  await expect(up).rejects.toThrow("enough");
  expect(await given).toEqual(DONE);
});

test("what the server would refuse is not sent, unless it says so no more", async () => {
  const server = fakeServer();
  server.tools = { pay: () => "order must be a text" };
  await expect(call(server)).rejects.toMatchObject({ code: "E_INVALID", message: /order must be a text/ });
  await expect(call(server, "refund")).rejects.toMatchObject({ code: "E_NOT_FOUND", message: /it has: pay/ });
  expect(server.log).not.toContain("call pay");
  server.tools = { pay: () => undefined, refund: () => undefined };
  await call(server, "refund");
  await call(server);
  expect(server.log.filter((line) => line.startsWith("call"))).toEqual(["call refund", "call pay"]);
});

test("a session that the server has forgotten is begun anew, once", async () => {
  const server = fakeServer();
  server.failures.push(new SessionEndedError("forgotten"));
  expect(await call(server)).toEqual(DONE);
  expect(server.log.filter((line) => line.startsWith("call"))).toHaveLength(2);
  server.failures.push(new SessionEndedError("forgotten"), new SessionEndedError("forgotten"));
  await expect(call(server)).rejects.toThrow("forgotten");
});

test("no other failure is tried again", async () => {
  const server = fakeServer();
  server.failures.push(new McpRefusal(-32603, "broken"));
  await expect(call(server)).rejects.toThrow("broken");
  server.failures.push(new Error("the connection is lost"));
  await expect(call(server)).rejects.toThrow("lost");
  expect(server.log.filter((line) => line.startsWith("call"))).toHaveLength(2);
});
