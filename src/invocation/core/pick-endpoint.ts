// Owns: which endpoint gets the next attempt: the version the caller was resolved with or the newest it declared to
// take (while the slice changes versions, any of them), an endpoint that works and was not tried yet, then the better
// of two, with this node preferred as long as it is not the busier one by far.
import type { NodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import type {
  Endpoint, EndpointGroup, EndpointSet, EndpointSplit, VersionEndpoints,
} from "../../cluster/endpoints/endpoint-lookup.ts";
import { ALL_CALLS } from "../../slices/core/rollout-row.ts";
import { mayReplace, type WantedVersion } from "../../slices/core/version-fit.ts";
import type { Standing } from "./breaker.ts";
import type { EndpointLoad } from "./endpoint-loads.ts";

export interface PickRequest {
  readonly endpoints: EndpointSet;
  /** Ids of endpoints that failed this call. */
  readonly tried: ReadonlySet<string>;
  /** The exact artifact that the caller was resolved with; undefined takes every version. */
  readonly artifact: string | undefined;
  /** Other versions that will do for the caller, as a semver range; undefined when it declared none: all. */
  readonly range: string | undefined;
  readonly self: NodeId;
  readonly isServing: (node: NodeId) => boolean;
  readonly standingOf: (endpoint: Endpoint) => Standing;
  readonly loadOf: (endpoint: Endpoint) => EndpointLoad;
  readonly random: Random;
}

type SharedSplit = Extract<EndpointSplit, { kind: "shares" }>;

export interface Picked {
  readonly endpoint: Endpoint;
  /** Whether another one as good is left that this call has not tried. */
  readonly hasOther: boolean;
}

/** Assumed until measured. */
const LATENCY_MS_LOCAL = 0.2;
const LATENCY_MS_REMOTE = 1;
/** A local call costs no frame and no other node: it may be this much busier before another is better. */
const LOCAL_BIAS = 0.25;
/** Measurements below this are noise. */
const LATENCY_MS_MIN = 0.05;

/** Up to so many endpoints are all looked at; of more only some are drawn, so that a call costs the same. */
const LOOKED_AT_MAX = 16;
const DRAWS_MAX = 6;

/** From best to worst; endpoints of one rank stand for each other. */
const PROBE = 0;
const UNTRIED = 1;
const TRIED = 2;
const AVOIDED = 3;
const AVOIDED_TRIED = 4;
const UNUSABLE = 5;

/** Undefined when no endpoint fits. When all were tried, or all are broken, they may be tried all the same. */
export function pickEndpoint(request: PickRequest): Picked | undefined {
  const { endpoints, artifact, range } = request;
  // What a rollout says comes first, also before the version that the caller was resolved with.
  const shared = endpoints.split?.kind === "shares" ? pickByShare(endpoints.split, request) : undefined;
  if (shared !== undefined) return shared;
  if (artifact === undefined) return pickFrom(endpoints.all, request);
  if (endpoints.split !== undefined) return pickFrom(groupForCaller({ artifact, range }, endpoints), request);
  const exact = endpoints.versions.get(artifact);
  const picked = exact === undefined ? undefined : pickFrom(exact, request);
  if (picked !== undefined) return picked;
  for (const [other, group] of endpoints.versions) {
    if (other === artifact || !mayReplace(other, { artifact, range })) continue;
    const replacement = pickFrom(group, request);
    if (replacement !== undefined) return replacement;
  }
  return undefined;
}

/**
 * From the version whose turn it is. From the other one only when nothing is left there that works and was not tried;
 * and where the other has no share of the calls, when nothing is left there at all.
 */
function pickByShare({ target, previous }: SharedSplit, request: PickRequest): Picked | undefined {
  const isTargetsTurn = request.random.below(ALL_CALLS) < target.share;
  const [first, second] = isTargetsTurn ? [target, previous] : [previous, target];
  const picked = willDo(first, request) ? pickFrom(first, request) : undefined;
  const other = willDo(second, request) ? second : undefined;
  if (other === undefined) return picked;
  if (picked === undefined) return pickFrom(other, request);
  if (other.share === 0 || !hasUntried(other, request)) return picked;
  return hasUntried(first, request) ? { ...picked, hasOther: true } : (pickFrom(other, request) ?? picked);
}

function willDo(offered: VersionEndpoints, { artifact, range }: PickRequest): boolean {
  if (artifact === undefined || offered.artifact === artifact) return true;
  return mayReplace(offered.artifact, { artifact, range });
}

function hasUntried({ endpoints }: EndpointGroup, request: PickRequest): boolean {
  return endpoints.some((endpoint) => rankOf(endpoint, request) <= UNTRIED);
}

/** The endpoints of all versions that will do for a caller. */
function groupForCaller(caller: WantedVersion, { all, versions }: EndpointSet): EndpointGroup {
  const groups = [...versions].flatMap(([offered, group]) =>
    offered === caller.artifact || mayReplace(offered, caller) ? group : [],
  );
  if (groups.length === versions.size) return all;
  return {
    endpoints: groups.flatMap(({ endpoints }) => endpoints),
    local: groups.flatMap(({ local }) => local),
  };
}

function pickFrom(group: EndpointGroup, request: PickRequest): Picked | undefined {
  const drawn = group.endpoints.length > LOOKED_AT_MAX ? drawTwo(group, request) : undefined;
  return drawn ?? pickFromAll(group, request);
}

/** The better of two that work and were not tried; undefined when a few draws do not find two. */
function drawTwo({ endpoints, local }: EndpointGroup, request: PickRequest): Picked | undefined {
  let first: Endpoint | undefined;
  for (let draws = 0; draws < DRAWS_MAX; draws += 1) {
    // The first draws are from this node, so that local is always considered.
    const isForLocal = first === undefined && draws < DRAWS_MAX / 2 && local.length > 0;
    const drawn = drawOne(isForLocal ? local : endpoints, request);
    if (drawn === undefined || drawn === first) continue;
    const rank = rankOf(drawn, request);
    if (rank === PROBE) return { endpoint: drawn, hasOther: true };
    if (rank !== UNTRIED) continue;
    if (first !== undefined) return { endpoint: betterOf(first, drawn, request), hasOther: true };
    first = drawn;
  }
  return undefined;
}

function pickFromAll(group: EndpointGroup, request: PickRequest): Picked | undefined {
  let best = UNUSABLE;
  let asGood = 0;
  let untried = 0;
  for (const endpoint of group.endpoints) {
    const rank = rankOf(endpoint, request);
    if (rank <= UNTRIED) untried += 1;
    if (rank > best) continue;
    asGood = rank < best ? 1 : asGood + 1;
    best = rank;
  }
  if (best === UNUSABLE) return undefined;
  // As a rule all are as good as each other.
  const pool = asGood === group.endpoints.length ? group : thoseOfRank(best, group, request);
  const endpoint = pickOfTwo(pool, request);
  if (endpoint === undefined) return undefined;
  return { endpoint, hasOther: untried > 1 || (best === AVOIDED && asGood > 1) };
}

function thoseOfRank(rank: number, { endpoints, local }: EndpointGroup, request: PickRequest): EndpointGroup {
  const isOfRank = (endpoint: Endpoint): boolean => rankOf(endpoint, request) === rank;
  return { endpoints: endpoints.filter(isOfRank), local: local.filter(isOfRank) };
}

function rankOf(endpoint: Endpoint, request: PickRequest): number {
  if (!request.isServing(endpoint.node)) return UNUSABLE;
  const isTried = request.tried.has(endpoint.id);
  switch (request.standingOf(endpoint)) {
    case "use":
      return isTried ? TRIED : UNTRIED;
    case "probe":
      return isTried ? AVOIDED_TRIED : PROBE;
    case "avoid":
      return isTried ? AVOIDED_TRIED : AVOIDED;
  }
}

/** The better of two random ones; on this node the first candidate is local, so that local is always considered. */
function pickOfTwo({ endpoints, local }: EndpointGroup, request: PickRequest): Endpoint | undefined {
  if (endpoints.length <= 1) return endpoints[0];
  const first = drawOne(local.length > 0 ? local : endpoints, request);
  if (first === undefined) return undefined;
  // One of the others, each as likely.
  const drawn = request.random.below(endpoints.length - 1);
  const second = endpoints[drawn < endpoints.indexOf(first) ? drawn : drawn + 1];
  return second === undefined ? first : betterOf(first, second, request);
}

function drawOne(pool: readonly Endpoint[], { random }: PickRequest): Endpoint | undefined {
  return pool.length <= 1 ? pool[0] : pool[random.below(pool.length)];
}

function betterOf(first: Endpoint, second: Endpoint, request: PickRequest): Endpoint {
  return costOf(second, request) < costOf(first, request) ? second : first;
}

function costOf(endpoint: Endpoint, request: PickRequest): number {
  const isLocal = endpoint.node === request.self;
  const load = request.loadOf(endpoint);
  const latencyMs = Math.max(LATENCY_MS_MIN, load.latencyMs ?? (isLocal ? LATENCY_MS_LOCAL : LATENCY_MS_REMOTE));
  return (load.inFlight + 1) * latencyMs * (isLocal ? LOCAL_BIAS : 1);
}
