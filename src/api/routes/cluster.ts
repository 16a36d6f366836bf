// Owns: /v1/cluster: the cluster as this node sees it.
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

export function clusterRoutes(services: ApiServices): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/cluster",
      summary: "Nodes, leader, quorum and position of the log, as this node sees them",
      answer: "{ cluster, node, nodes, convener, leader, quorum, slots, revision }",
      handle: () => {
        const { convener, leader, nodes, ...view } = services.cluster();
        return jsonResponse(200, {
          ...view,
          nodes: nodes.map((node) => ({
            ...node,
            address: node.address ?? null,
            lastSeenMs: node.lastSeenMs ?? null,
          })),
          convener: convener ?? null,
          leader: leader ?? null,
        });
      },
    },
  ];
}
