// Owns: /v1/logs/levels: which lines this node's log has, looked at and changed while it runs.
import { z } from "zod";
import { LOG_LEVELS } from "../../base/log-levels.ts";
import { jsonResponse } from "../json.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

const PATH = "/v1/logs/levels";
const ANSWER = "{ node, everywhere, areas: { AREA: level } }";
/** Longer than any area is called. */
const AREA_LENGTH_MAX = 32;

const changeSchema = z.strictObject({
  area: z.string().max(AREA_LENGTH_MAX).exactOptional().describe("What events begin with; default: all others"),
  level: z.enum(LOG_LEVELS).exactOptional().describe("Default: the area has none of its own any more"),
}).refine(({ area, level }) => area !== undefined || level !== undefined, "say a level, an area, or both");

type LogServices = Pick<ApiServices, "logLevels" | "cluster">;

export function logRoutes({ logLevels: levels, cluster }: LogServices): readonly Route[] {
  const answer = (): Response => jsonResponse(200, { node: cluster().node, ...levels.view() });
  return [
    {
      method: "GET",
      path: PATH,
      summary: "The least severe lines that this node's log has, of each area",
      answer: ANSWER,
      handle: () => answer(),
    },
    {
      method: "PUT",
      path: PATH,
      summary: "Changes which lines this node's log has, until it restarts",
      body: changeSchema,
      answer: ANSWER,
      handle: async (request) => {
        const { area, level } = parseInput(changeSchema, await request.readJson(), "the level of the log");
        if (level !== undefined) levels.set(level, area);
        else if (area !== undefined) levels.reset(area);
        return answer();
      },
    },
  ];
}
