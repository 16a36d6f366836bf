// Owns: /v1/slices: what one slice says, and how many instances it has.
import { z } from "zod";
import { jsonResponse } from "../json.ts";
import { LINES_ANSWER_MAX, type NumberedLine } from "../../slices/core/recent-lines.ts";
import { LOG_LINES_DEFAULT } from "../limits.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

const logQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(LINES_ANSWER_MAX).default(LOG_LINES_DEFAULT),
  after: z.string().exactOptional(),
  nodes: z.enum(["this", "all"]).default("this"),
}).refine(({ after, nodes }) => after === undefined || nodes === "this", {
  error: "a log goes on at one node: leave out after, or ask this node alone", path: ["after"],
});
const scaleSchema = z.strictObject({ instances: z.number() });

export function sliceRoutes(services: ApiServices): readonly Route[] {
  const { slices } = services;
  return [
    {
      method: "GET",
      path: "/v1/slices/:slice/log",
      summary: "What the instances of a slice said on this node lately, also those that have ended; with nodes=all " +
        "on all nodes, in the order of their clocks, without those that do not answer within 2 s (silent)",
      query: logQuery,
      answer: "{ node, lines: [{ at, instance, level, text, fields? }], next, isComplete }; of all nodes " +
        "{ node, lines: [{ node, at, instance, level, text, fields? }], silent: [node] }",
      handle: async (request) => {
        const { limit: linesMax, after, nodes } = request.query(logQuery);
        const slice = request.param("slice");
        if (nodes === "all") {
          const { lines, silent } = await slices.logOfAll(slice, linesMax, { signal: request.signal() });
          return jsonResponse(200, { node: services.cluster().node, lines: lines.map(lineJson), silent });
        }
        const query = after === undefined ? { linesMax } : { linesMax, after };
        const log = await slices.log(slice, query, { signal: request.signal() });
        return jsonResponse(200, { ...log, node: services.cluster().node, lines: log.lines.map(lineJson) });
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

function lineJson({ number: _number, atMs, ...line }: NumberedLine): object {
  return { at: atMs, ...line };
}
