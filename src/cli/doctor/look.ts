// Owns: seeing what can be seen of a cluster, from outside: one node tells of the others, and each is asked itself.
// What does not answer hides nothing else.
import { z } from "zod";
import { toAetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";
import { type ClusterStatus, clusterSchema } from "../cluster-view.ts";
import { alertsSchema } from "../alert-view.ts";
import { HttpApi } from "../http-api.ts";
import {
  alertFindings, clockFindings, clusterFindings, couldNot, type Finding, nodeFindings,
  type SeenNode, type UnseenNode, unseenFinding,
} from "./findings.ts";

/** For one question: a node that hangs is told from one that is busy. */
const TIMEOUT_MS = 5_000;
/** Of several questions about the time the fastest is the most exact. */
const CLOCK_QUESTIONS = 3;

const lookedSchema = <T extends z.ZodType>(value: T) =>
  z.union([z.object({ value }), z.object({ couldNot: z.string() })]);

const doctorSchema = z.object({
  node: z.string(),
  ready: z.boolean(),
  reason: z.string().optional(),
  store: z.object({ liveBytes: z.number(), quotaBytes: z.number() }),
  machine: z.object({
    nodeVersion: z.string(),
    sync: lookedSchema(z.object({ medianMs: z.number(), maxMs: z.number() })),
    space: lookedSchema(z.object({ freeBytes: z.number(), totalBytes: z.number() })),
    descriptors: lookedSchema(z.object({ open: z.number(), limit: z.number() })),
  }),
});
const clockSchema = z.object({ wallMs: z.number() });

export async function lookAtCluster(io: CliIo, api: HttpApi): Promise<readonly Finding[]> {
  let view: ClusterStatus;
  try {
    view = await api.get(clusterSchema, "/v1/cluster", { timeoutMs: TIMEOUT_MS });
  } catch (error) {
    const why = reasonOf(error);
    const advice = "start the node, or name another one with --api; --config FILE looks at this machine without a node";
    return [
      { check: "answers", of: api.url, level: "problem", what: why, advice },
      ...["quorum", "leader", "versions", "settings", "members", "clock"].map((check) =>
        couldNot(check, undefined, "no node has told")),
    ];
  }
  const seen = await Promise.all(view.nodes.filter(({ isLost }) => !isLost).map(({ id, address }) =>
    lookAtNode(io, id, address)));
  const answered = seen.filter((node): node is SeenNode => "machine" in node);
  const silent = seen.filter((node): node is UnseenNode => "couldNot" in node);
  return [
    ...clusterFindings(view),
    ...answered.flatMap((node) => [{ check: "answers", of: node.id, level: "ok", what: "it answers" } as const,
      ...nodeFindings(node)]),
    ...silent.flatMap((node) => [unseenFinding(node), ...["ready", "disk-time", "disk-space", "descriptors", "clock"]
      .map((check) => couldNot(check, node.id, "it does not answer"))]),
    ...clockFindings(answered),
    ...await lookAtAlerts(api),
  ];
}

/** What the cluster says of itself. */
async function lookAtAlerts(api: HttpApi): Promise<readonly Finding[]> {
  try {
    const { alerts } = await api.get(alertsSchema, "/v1/alerts?state=firing", { timeoutMs: TIMEOUT_MS });
    return alertFindings(alerts);
  } catch (error) {
    return [couldNot("alerts", undefined, reasonOf(error))];
  }
}

async function lookAtNode(io: CliIo, id: string, address: string | null): Promise<SeenNode | UnseenNode> {
  if (address === null) return { id, couldNot: "nobody knows where it answers: it was not heard of since it joined" };
  try {
    const api = new HttpApi(io, address);
    // First: measuring the disk keeps the node busy.
    const clock = await lookAtClock(io, api);
    const { ready, reason, machine, store } = await api.get(doctorSchema, "/v1/doctor", { timeoutMs: TIMEOUT_MS });
    return { id, isReady: ready, reason, machine, store, ...clock };
  } catch (error) {
    return { id, couldNot: reasonOf(error) };
  }
}

async function lookAtClock(io: CliIo, api: HttpApi): Promise<Pick<SeenNode, "clockMs" | "clockErrorMs">> {
  let best = { clockMs: 0, clockErrorMs: Infinity };
  for (let question = 0; question < CLOCK_QUESTIONS; question++) {
    const askedMs = io.nowMs();
    const { wallMs } = await api.get(clockSchema, "/v1/clock", { timeoutMs: TIMEOUT_MS });
    const clockErrorMs = (io.nowMs() - askedMs) / 2;
    if (clockErrorMs < best.clockErrorMs) best = { clockMs: wallMs - (askedMs + clockErrorMs), clockErrorMs };
  }
  return best;
}

function reasonOf(error: unknown): string {
  const { code, message } = toAetherError(error);
  return `${code}: ${message}`;
}
