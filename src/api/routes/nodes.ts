// Owns: /v1/nodes: asking a node to leave its work to others, and to take it up again; in development, killing it.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseNodeId } from "../../base/ids.ts";
import type { ApiRequest } from "../api-request.ts";
import { jsonResponse } from "../json.ts";
import { KV_TIMEOUT_MS } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

const PATH = "/v1/nodes/:node/drain";
const HEADERS = { "X-Deadline-Ms": "Milliseconds until the caller gives up; default 5000" };
const ANSWER = "{ node, want }";

const drainSchema = z.strictObject({
  /** Also when no other node is on duty. */
  force: z.boolean().optional(),
});

export function nodeRoutes(services: ApiServices): readonly Route[] {
  const { nodes } = services;
  return [
    {
      method: "POST",
      path: PATH,
      summary: "Asks that a node be drained: it gets no instances, and those it has leave once others serve",
      headers: HEADERS,
      body: drainSchema,
      answer: ANSWER,
      handle: async (request: ApiRequest) => {
        const node = parseNodeId(request.param("node"));
        const { force = false } = parseInput(drainSchema, (await request.readOptionalJson()) ?? {}, "the drain");
        await nodes.drain(node, { isForced: force, timeoutMs: request.timeoutMs(KV_TIMEOUT_MS) });
        return jsonResponse(202, { node, want: "drained" });
      },
    },
    {
      method: "DELETE",
      path: PATH,
      summary: "Cancels the draining of a node: it is wanted on duty again",
      headers: HEADERS,
      answer: ANSWER,
      handle: async (request: ApiRequest) => {
        const node = parseNodeId(request.param("node"));
        await nodes.cancelDrain(node, { timeoutMs: request.timeoutMs(KV_TIMEOUT_MS) });
        return jsonResponse(202, { node, want: "on-duty" });
      },
    },
    killRoute(services),
  ];
}

function killRoute(services: ApiServices): Route {
  return {
    method: "POST",
    path: "/v1/nodes/:node/kill",
    summary: "Kills the process of the node that is asked, as a crash would; only with `apiKill: allowed`",
    answer: "202 { node }",
    handle: (request) => {
      const { killSelf } = services;
      if (killSelf === undefined) {
        throw new AetherError("E_FORBIDDEN", "this node was not started to be killed: `aether dev` starts nodes that " +
          "may be, with apiKill: allowed");
      }
      const node = parseNodeId(request.param("node"));
      const { node: self } = services.cluster();
      if (node !== self) {
        throw new AetherError("E_CONFLICT", `this is ${self}: ask ${node} itself, at its own address`, {
          outcome: "not-applied",
        });
      }
      killSelf();
      return jsonResponse(202, { node });
    },
  };
}
