// Owns: which endpoint gets the next attempt: the resolved version, then one not tried yet, then the better of two,
// with this node preferred as long as it is not the busier one by far.
import type { NodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import type { Endpoint } from "../../cluster/endpoint-lookup.ts";
import { endpointId, type EndpointLoad } from "./endpoint-loads.ts";

export interface PickRequest {
  readonly endpoints: readonly Endpoint[];
  /** `endpointId`s that failed this call. */
  readonly tried: ReadonlySet<string>;
  /** The exact artifact that the caller was resolved with. */
  readonly artifact: string | undefined;
  readonly self: NodeId;
  readonly loadOf: (endpoint: Endpoint) => EndpointLoad;
  readonly random: Random;
}

export interface Picked {
  readonly endpoint: Endpoint;
  /** Whether another one is left that this call has not tried. */
  readonly hasOther: boolean;
}

/** Assumed until measured. */
const LATENCY_MS_LOCAL = 0.2;
const LATENCY_MS_REMOTE = 1;
/** A local call costs no frame and no other node: it may be this much busier before another is better. */
const LOCAL_BIAS = 0.25;
/** Measurements below this are noise. */
const LATENCY_MS_MIN = 0.05;

/** Undefined when no endpoint fits. When all were tried, all may be tried again. */
export function pickEndpoint(request: PickRequest): Picked | undefined {
  const fitting = endpointsOfVersion(request.endpoints, request.artifact);
  const untried = fitting.filter((endpoint) => !request.tried.has(endpointId(endpoint)));
  const pool = untried.length > 0 ? untried : fitting;
  const endpoint = pickOfTwo(pool, request);
  if (endpoint === undefined) return undefined;
  return { endpoint, hasOther: untried.some((other) => other !== endpoint) };
}

/** The better of two random ones; on this node the first candidate is local, so that local is always considered. */
function pickOfTwo(pool: readonly Endpoint[], request: PickRequest): Endpoint | undefined {
  if (pool.length <= 1) return pool[0];
  const local = pool.filter(({ node }) => node === request.self);
  const first = drawOne(local.length > 0 ? local : pool, request.random);
  const second = drawOne(pool.filter((endpoint) => endpoint !== first), request.random);
  if (first === undefined || second === undefined) return first ?? second;
  return costOf(second, request) < costOf(first, request) ? second : first;
}

function drawOne(pool: readonly Endpoint[], random: Random): Endpoint | undefined {
  return pool.length <= 1 ? pool[0] : pool[random.below(pool.length)];
}

function costOf(endpoint: Endpoint, request: PickRequest): number {
  const isLocal = endpoint.node === request.self;
  const load = request.loadOf(endpoint);
  const latencyMs = Math.max(LATENCY_MS_MIN, load.latencyMs ?? (isLocal ? LATENCY_MS_LOCAL : LATENCY_MS_REMOTE));
  return (load.inFlight + 1) * latencyMs * (isLocal ? LOCAL_BIAS : 1);
}

function endpointsOfVersion(endpoints: readonly Endpoint[], artifact: string | undefined): readonly Endpoint[] {
  if (artifact === undefined) return endpoints;
  const exact = endpoints.filter((endpoint) => endpoint.artifact === artifact);
  return exact.length > 0 ? exact : endpoints.filter((endpoint) => isCompatible(artifact, endpoint.artifact));
}

/** Same artifact name and no breaking change between the versions (semver's caret, either way). */
function isCompatible(wanted: string, offered: string): boolean {
  return compatibleLine(wanted) === compatibleLine(offered);
}

/** `demo:orders:1.4.2` → `demo:orders:1`; below 1.0.0 each minor version may break. */
function compatibleLine(artifact: string): string {
  const [group = "", name = "", version = ""] = artifact.split(":");
  const [major = "", minor = "", patch = ""] = version.split(".");
  if (version.includes("-")) return artifact;
  if (major !== "0") return `${group}:${name}:${major}`;
  return minor === "0" ? `${group}:${name}:0.0.${patch}` : `${group}:${name}:0.${minor}`;
}
