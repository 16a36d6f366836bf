// Owns: /v1/schedules: what runs by itself, and how its last tick ended.
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

export function scheduleRoutes({ blueprints }: Pick<ApiServices, "blueprints">): readonly Route[] {
  return [{
    method: "GET",
    path: "/v1/schedules",
    summary: "Schedules of slices and of agents, with the last tick of each and the job that it has started",
    answer: "{ schedules: [{ blueprint, slice, name, cron, timeZone, method?, agent?, overlap?, last?, job? }] }",
    handle: async () => jsonResponse(200, { schedules: await blueprints.schedules() }),
  }];
}
