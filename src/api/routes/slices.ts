// Owns: /v1/slices: what one slice says, and how many instances it has.
import { z } from "zod";
import { jsonResponse } from "../json.ts";
import { LOG_LINES_DEFAULT, LOG_LINES_MAX } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

const logQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(LOG_LINES_MAX).default(LOG_LINES_DEFAULT),
  after: z.string().exactOptional(),
});
const scaleSchema = z.strictObject({ instances: z.number() });

export function sliceRoutes(services: ApiServices): readonly Route[] {
  const { slices } = services;
  return [
    {
      method: "GET",
      path: "/v1/slices/:slice/log",
      summary: "What the instances of a slice said on this node lately, also those that have ended",
      query: logQuery,
      answer: "{ node, lines: [{ at, instance, level, text, fields? }], next, isComplete }",
      handle: async (request) => {
        const { limit: linesMax, after } = request.query(logQuery);
        const query = after === undefined ? { linesMax } : { linesMax, after };
        const log = await slices.log(request.param("slice"), query, { signal: request.signal() });
        const lines = log.lines.map(({ number: _number, atMs, ...line }) => ({ at: atMs, ...line }));
        return jsonResponse(200, { ...log, node: services.cluster().node, lines });
      },
    },
    {
      method: "POST",
      path: "/v1/slices/:slice/scale",
      summary: "Changes how many instances a slice has, as a new revision of its blueprint",
      body: scaleSchema,
      answer: "{ slice, instances, minAvailable, blueprint, revision }",
      handle: async (request) => {
        const { instances } = parseInput(scaleSchema, await request.readJson(), "the scale");
        return jsonResponse(200, await slices.scale(request.param("slice"), instances, { signal: request.signal() }));
      },
    },
  ];
}
