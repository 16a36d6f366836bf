// Owns: an MCP server for tests, built with the official SDK, in a process of its own: over its input and output, or
// over HTTP with `--http`. What its tools do "outside" are lines of a file, which tests count.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

const { OUTSIDE = "", START_MS = "0", GREETING, KEY } = process.env;
const say = (text) => ({ content: [{ type: "text", text }] });
const note = (line) => appendFileSync(OUTSIDE, `${JSON.stringify({ pid: process.pid, ...line })}\n`);
const notes = () => readFileSync(OUTSIDE, "utf8").trim().split("\n").map((line) => JSON.parse(line));

/** What it does after it has acted. */
const ENDINGS = {
  answers: (order) => ({ ...say("paid"), structuredContent: { receipt: `r-${order}` } }),
  hangs: () => new Promise(() => setInterval(() => undefined, 1_000)),
  dies: () => process.exit(3),
  /** What it leaves behind has its input and output. */
  leaves: () => {
    const { pid: left } = spawn("sleep", ["60"], { stdio: "inherit", detached: true });
    note({ left });
    process.exit(3);
  },
  fails: () => ({ ...say("the bank said maybe"), isError: true }),
  refuses: () => ({ ...say("not done: no money"), isError: true }),
  slow: async (order) => {
    await sleep(1_500);
    return ENDINGS.answers(order);
  },
  blabs: () => {
    console.error(`the key is ${KEY}`);
    return { ...say(`the key is ${KEY}`), isError: true };
  },
};

function createMcpServer(headers) {
  const server = new McpServer({ name: "bank", version: "1.0.0" });
  server.registerTool(
    "pay", { inputSchema: { order: z.string(), then: z.string().default("answers"), token: z.string().optional() } },
    ({ order, then, token }, { _meta, signal }) => {
      note({ paid: order, effectId: _meta?.["aether/effect-id"], token, ...headers });
      signal.addEventListener("abort", () => note({ cancelled: order }));
      return ENDINGS[then](order);
    },
  );
  server.registerTool("find", { inputSchema: { effectId: z.string() } }, ({ effectId }) => {
    note({ asked: effectId });
    const found = notes().filter((one) => one.effectId === effectId && one.paid !== undefined);
    return say(JSON.stringify({ found }));
  });
  server.registerTool("huge", { inputSchema: { bytes: z.number() } }, ({ bytes }) => say("x".repeat(bytes)));
  server.registerTool("garbage", {}, () => {
    process.stdout.write("Debug: this is no JSON\n{\"jsonrpc\":\"1.0\"}\n");
    return say("after all");
  });
  server.registerTool("noise", { inputSchema: { lines: z.number() } }, ({ lines }) => {
    for (let n = 0; n < lines; n += 1) console.error(`noise ${n}`);
    return say(String(process.pid));
  });
  server.registerTool("pid", {}, () => say(String(process.pid)));
  return server;
}

async function serveHttp() {
  const sessions = new Map();
  const http = createServer(async (request, response) => {
    const session = sessions.get(request.headers["mcp-session-id"]);
    if (session !== undefined) return session.handleRequest(request, response);
    if (request.headers["mcp-session-id"] !== undefined) return response.writeHead(404).end();
    if (request.headers.authorization === "Bearer wrong") return response.writeHead(401).end();
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => void sessions.set(id, transport),
    });
    const { authorization, "idempotency-key": key } = request.headers;
    await createMcpServer({ authorization, key }).connect(transport);
    await transport.handleRequest(request, response);
  });
  process.on("SIGUSR2", () => sessions.clear());
  http.listen(Number(process.argv[3] ?? 0), "127.0.0.1", () => console.log(`port ${http.address().port}`));
}

note({ started: true });
if (GREETING !== undefined) process.stdout.write(`${GREETING}\n`);
await sleep(Number(START_MS));
if (process.argv[2] === "--http") await serveHttp();
else {
  await createMcpServer({}).connect(new StdioServerTransport());
  process.stdin.on("end", () => process.exit());
}
