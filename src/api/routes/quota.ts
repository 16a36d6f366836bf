// Owns: /v1/cluster/quota: what the store weighs, and what it may.
import { z } from "zod";
import { QUOTA_BYTES_MAX, QUOTA_BYTES_MIN } from "../../kvstore/core/command.ts";
import { jsonResponse } from "../json.ts";
import { KV_TIMEOUT_MS } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

const PATH = "/v1/cluster/quota";

const quotaSchema = z.strictObject({ quotaBytes: z.int().min(QUOTA_BYTES_MIN).max(QUOTA_BYTES_MAX) });

export function quotaRoutes({ kv }: ApiServices): readonly Route[] {
  return [
    {
      method: "GET",
      path: PATH,
      summary: "What the store weighs and may weigh, as this node has it applied",
      answer: "{ liveBytes, quotaBytes }",
      handle: () => jsonResponse(200, kv.usage()),
    },
    {
      method: "POST",
      path: PATH,
      summary: "Sets how much the store may weigh, on all nodes",
      body: quotaSchema,
      headers: { "X-Deadline-Ms": "Milliseconds until the caller gives up; default 5000" },
      answer: "{ liveBytes, quotaBytes }",
      handle: async (request) => {
        const { quotaBytes } = parseInput(quotaSchema, await request.readJson(), "the quota");
        await kv.setQuota(quotaBytes, { timeoutMs: request.timeoutMs(KV_TIMEOUT_MS) });
        return jsonResponse(200, kv.usage());
      },
    },
  ];
}
