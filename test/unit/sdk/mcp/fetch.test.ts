// Owns: the requests of an MCP connection over HTTP: which of them are sent.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import type { McpCall } from "../../../../src/sdk/mcp/connection.ts";
import { createMcpFetch, EFFECT_ID_META } from "../../../../src/sdk/mcp/fetch-adapter.ts";

const metaOf = (effectId: string): Readonly<Record<string, string>> => ({ [EFFECT_ID_META]: effectId });

test("a call that was given up before its request began is not sent", async () => {
  const asked: string[] = [];
  const http = createServer((request, response) => {
    asked.push(String(request.headers["idempotency-key"]));
    response.end("{}");
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/`;
  const call: McpCall = {
    tool: "pay", arguments: {}, effectId: "e-1", timeoutMs: 1_000, startMsMax: 1_000,
    signal: new AbortController().signal, beforeWrite: () => undefined,
  };
  const underWay = new Map([["e-1", { call, over: new AbortController().signal }]]);
  const send = createMcpFetch(underWay);
  const request = (effectId: string): RequestInit => ({
    method: "POST",
    body: JSON.stringify({ id: 1, method: "tools/call", params: { name: "pay", _meta: metaOf(effectId) } }),
  });
  await send(url, request("e-1"));
  await expect(send(url, request("e-2"))).rejects.toThrow(/given up/);
  expect(asked).toEqual(["e-1"]);
  http.close();
});
