// Owns: /v1/doctor: what this node knows of itself and of its machine, for who looks for the cause of trouble.
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

type DoctorServices = Pick<ApiServices, "machine" | "wallMs" | "health" | "kv" | "cluster">;

export function doctorRoutes(services: DoctorServices): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/doctor",
      summary: "What this node knows of itself and its machine; measures its disk, for half a second at most",
      answer: "{ node, ready, reason?, store: { liveBytes, quotaBytes }, machine: { nodeVersion, sync, space, " +
        "descriptors } }; each of these is { value } or { couldNot }",
      handle: async () => {
        const machine = await services.machine();
        const { isReady, reason } = services.health.readiness();
        return jsonResponse(200, {
          node: services.cluster().node,
          ready: isReady,
          ...(reason !== undefined && { reason }),
          store: services.kv.usage(),
          machine,
        });
      },
    },
    {
      method: "GET",
      path: "/v1/clock",
      summary: "The time of this node's machine",
      answer: "{ node, wallMs }",
      handle: () => jsonResponse(200, { node: services.cluster().node, wallMs: services.wallMs() }),
    },
  ];
}
