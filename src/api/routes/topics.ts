// Owns: /v1/topics: who handles which topic, what waits, and the messages that were put aside.
import { z } from "zod";
import { nameSchema } from "../../sdk/name.ts";
import { AetherError } from "../../base/errors.ts";
import type { ApiRequest } from "../api-request.ts";
import { jsonResponse } from "../json.ts";
import { KV_TIMEOUT_MS } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

const DEADLINE = { "X-Deadline-Ms": "Milliseconds until the caller gives up; default 5000" };
const DEAD_PATH = "/v1/topics/:topic/dead";
const choiceSchema = z.strictObject({ group: z.string().exactOptional(), id: z.string().exactOptional() });

export function topicRoutes({ topics }: ApiServices): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/topics",
      summary: "Topics, the slices that handle them, and what waits for each, as this node sees them",
      answer: "{ topics: [{ topic, groups: [{ group, method, waiting, waitingBytes, dead }] }] }",
      handle: () => jsonResponse(200, {
        topics: topics.list().map(({ topic, groups }) => ({
          topic, groups: groups.map(({ method, ...rest }) => ({ ...rest, method: method ?? null })),
        })),
      }),
    },
    {
      method: "GET",
      path: DEAD_PATH,
      summary: "Messages of a topic that were put aside after their last attempt, with the last error",
      query: choiceSchema,
      headers: DEADLINE,
      answer: "{ messages: [{ group, id, key, payload, attempts, error: { code, message } }] }",
      handle: async (request) => {
        const messages = await topics.dead(topicOf(request), request.query(choiceSchema), optionsOf(request));
        return jsonResponse(200, { messages });
      },
    },
    {
      method: "POST",
      path: `${DEAD_PATH}/retry`,
      summary: "Publishes them anew to the slices that could not handle them",
      body: choiceSchema,
      headers: DEADLINE,
      answer: "{ retried }",
      handle: async (request) => {
        const retried = await topics.retry(topicOf(request), await choiceOf(request), optionsOf(request));
        return jsonResponse(200, { retried });
      },
    },
    {
      method: "POST",
      path: `${DEAD_PATH}/drop`,
      summary: "Deletes them for good",
      body: choiceSchema,
      headers: DEADLINE,
      answer: "{ dropped }",
      handle: async (request) => {
        const dropped = await topics.drop(topicOf(request), await choiceOf(request), optionsOf(request));
        return jsonResponse(200, { dropped });
      },
    },
  ];
}

async function choiceOf(request: ApiRequest): Promise<z.output<typeof choiceSchema>> {
  return parseInput(choiceSchema, (await request.readOptionalJson()) ?? {}, "the choice of messages");
}

function optionsOf(request: ApiRequest): { readonly timeoutMs: number; readonly signal: AbortSignal } {
  return { timeoutMs: request.timeoutMs(KV_TIMEOUT_MS), signal: request.signal() };
}

/** @throws AetherError E_INVALID */
function topicOf(request: ApiRequest): string {
  const topic = request.param("topic");
  if (nameSchema.safeParse(topic).success) return topic;
  throw new AetherError("E_INVALID", `"${topic}" cannot be the name of a topic`);
}
