// Owns: /v1/control: the rules by which slices are scaled, pausing and pinning, and what was decided.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import type { ControlService } from "../../control/control-service.ts";
import { REASON_CHARS_MAX } from "../../control/core/control-rows.ts";
import { RULE_FILE_BYTES_MAX } from "../../control/core/rules.ts";
import type { ApiRequest } from "../api-request.ts";
import { ANYBODY } from "../caller.ts";
import { jsonResponse } from "../json.ts";
import { KV_TIMEOUT_MS } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";

const RULES = "/v1/control/rules";
const PIN = "/v1/control/pins/:slice";
const HEADERS = { "X-Deadline-Ms": "Milliseconds until the caller gives up; default 5000" };

// Who asks is said by credentials, never by the body.
const holdSchema = z.strictObject({ reason: z.string().min(1).max(REASON_CHARS_MAX).exactOptional() });
const pinSchema = holdSchema.extend({ instances: z.number().exactOptional() });

export function controlRoutes(control: ControlService): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/control",
      summary: "How slices stand: what their blueprints say, what there is to be, bounds, pins, last changes; and " +
        "what this node decided lately, if it leads",
      answer: "{ rules: { count, by, at, revision } | null, paused: { by, reason?, at } | null, leader, slices: " +
        "[{ slice, blueprint, base, instances, active, min, max, pinnedBy?, change? }], decisions: " +
        "[{ decision, atMs, lastMs, times }] }",
      handle: () => jsonResponse(200, control.status()),
    },
    {
      method: "GET",
      path: RULES,
      summary: "The rules, as they were written",
      answer: "{ text, by, atMs }",
      handle: () => jsonResponse(200, control.rules()),
    },
    {
      method: "PUT",
      path: RULES,
      summary: "Puts these rules in the place of all others; what is wrong with them is told with line and column",
      headers: HEADERS,
      body: "bytes",
      answer: "{ rules }",
      handle: async (request) => {
        const text = textOf(await request.readBytes(RULE_FILE_BYTES_MAX));
        return jsonResponse(200, await control.apply(text, { by: ANYBODY.principal }, optionsOf(request)));
      },
    },
    {
      method: "DELETE",
      path: RULES,
      summary: "Removes all rules: slices go back, step by step, to what their blueprints say",
      headers: HEADERS,
      answer: "{ rules: 0 }",
      handle: async (request) => {
        await control.removeRules(optionsOf(request));
        return jsonResponse(200, { rules: 0 });
      },
    },
    {
      method: "POST",
      path: "/v1/control/pause",
      summary: "Nothing is scaled until it is resumed",
      headers: HEADERS,
      body: holdSchema,
      answer: "{ paused: true }",
      handle: async (request) => {
        const hold = parseInput(holdSchema, (await request.readOptionalJson()) ?? {}, "the pause");
        await control.pause({ by: ANYBODY.principal, ...hold }, optionsOf(request));
        return jsonResponse(200, { paused: true });
      },
    },
    {
      method: "POST",
      path: "/v1/control/resume",
      summary: "Slices are scaled again",
      headers: HEADERS,
      answer: "{ paused: false }",
      handle: async (request) => {
        await control.resume(optionsOf(request));
        return jsonResponse(200, { paused: false });
      },
    },
    {
      method: "PUT",
      path: PIN,
      summary: "Keeps a slice as it is, or at a number of instances, until it is unpinned",
      headers: HEADERS,
      body: pinSchema,
      answer: "{ slice, pinned: true }",
      handle: async (request) => {
        const slice = request.param("slice");
        const { instances, ...hold } = parseInput(pinSchema, (await request.readOptionalJson()) ?? {}, "the pin");
        await control.pin(slice, instances, { by: ANYBODY.principal, ...hold }, optionsOf(request));
        return jsonResponse(200, { slice, pinned: true });
      },
    },
    {
      method: "DELETE",
      path: PIN,
      summary: "Rules may change the slice again",
      headers: HEADERS,
      answer: "{ slice, pinned: false }",
      handle: async (request) => {
        const slice = request.param("slice");
        await control.unpin(slice, optionsOf(request));
        return jsonResponse(200, { slice, pinned: false });
      },
    },
  ];
}

function optionsOf(request: ApiRequest): { readonly signal: AbortSignal; readonly timeoutMs: number } {
  return { signal: request.signal(), timeoutMs: request.timeoutMs(KV_TIMEOUT_MS) };
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new AetherError("E_INVALID", "the rules are not UTF-8 text", { cause: error });
  }
}
