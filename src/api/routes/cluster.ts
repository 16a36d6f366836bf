// Owns: /v1/cluster: the cluster as this node sees it, and changes of its membership.
import { z } from "zod";
import { type NodeId, parseNodeId, parseNodeUid } from "../../base/ids.ts";
import { MINUTE_MS } from "../../base/units.ts";
import type { MembershipChange } from "../../consensus/group.ts";
import type { ApiRequest } from "../api-request.ts";
import { jsonResponse } from "../json.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import type { ApiServices, ClusterNodeView } from "../services.ts";

/** A change rules after a window of slots, which an idle cluster has to fill first. */
const CHANGE_TIMEOUT_MS = MINUTE_MS / 2;
const DEADLINE = { "X-Deadline-Ms": "Milliseconds until the caller gives up; default 30000" };

const addSchema = z.strictObject({
  node: z.string(),
  address: z.string().refine((url) => URL.canParse(url) && new URL(url).protocol === "ws:", {
    error: "use a ws:// address, for example ws://127.0.0.1:7101",
  }),
});

const ofNodeSchema = z.strictObject({
  directory: z.string().optional().describe("The data directory that is meant, as `GET /v1/cluster` names it"),
});

export function clusterRoutes(services: ApiServices): readonly Route[] {
  const change = async (request: ApiRequest, wanted: MembershipChange): Promise<Response> => {
    await services.members.change(wanted, request.timeoutMs(CHANGE_TIMEOUT_MS));
    return jsonResponse(200, { node: wanted.node, change: wanted.kind });
  };
  const ofNode = (kind: "promote" | "remove" | "replace", summary: string): Route => ({
    method: "POST",
    path: `/v1/cluster/members/:node/${kind}`,
    summary,
    headers: DEADLINE,
    body: ofNodeSchema,
    answer: "{ node, change }",
    handle: async (request) => {
      const node = nodeOf(request);
      const { directory } = parseInput(ofNodeSchema, (await request.readOptionalJson()) ?? {}, "the change");
      return change(request, { kind, node, ...(directory === undefined ? {} : { uid: parseNodeUid(directory) }) });
    },
  });
  return [
    {
      method: "GET",
      path: "/v1/cluster",
      summary: "Nodes, voters, leader, quorum and position of the log, as this node sees them",
      answer: "{ cluster, node, version, nodes, differences, voters, pending, convener, leader, quorum, slots, " +
        "revision, canBeKilled }",
      handle: () => {
        const { convener, leader, pending, nodes, ...view } = services.cluster();
        return jsonResponse(200, {
          ...view,
          nodes: nodes.map(nodeJson),
          pending: pending ?? null,
          convener: convener ?? null,
          leader: leader ?? null,
          canBeKilled: services.killSelf !== undefined,
        });
      },
    },
    {
      method: "POST",
      path: "/v1/cluster/members",
      summary: "Reserves a name and an address for a node that will join, or gives a member another address",
      headers: DEADLINE,
      body: addSchema,
      answer: "{ node, change }",
      handle: async (request) => {
        const { node, address } = parseInput(addSchema, await request.readJson(), "the member");
        return change(request, { kind: "add", node: parseNodeId(node), address });
      },
    },
    ofNode("promote", "Makes a member a voter, once it has caught up"),
    ofNode("remove", "Removes a node; its data directory never comes back"),
    ofNode("replace", "Declares the data directory of a voter lost: a new node of its name that joins takes its place"),
  ];
}

/** @throws AetherError E_INVALID */
function nodeOf(request: ApiRequest): NodeId {
  return parseNodeId(request.param("node"));
}

/** The wire has null where nothing is known. */
function nodeJson(node: ClusterNodeView): unknown {
  const { directory, address, peerAddress, lastSeenMs, slotsBehind, catchUp, supportedVersion } = node;
  return {
    ...node,
    directory: directory ?? null,
    address: address ?? null,
    peerAddress: peerAddress ?? null,
    lastSeenMs: lastSeenMs ?? null,
    slotsBehind: slotsBehind ?? null,
    catchUp: catchUp ?? null,
    supportedVersion: supportedVersion ?? null,
  };
}
