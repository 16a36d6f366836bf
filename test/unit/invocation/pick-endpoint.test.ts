import { describe, expect, test } from "vitest";
import { parseArtifactId, parseDigest, parseNodeId } from "../../../src/base/ids.ts";
import { SeededRandom } from "../../../src/base/random.ts";
import type { Endpoint } from "../../../src/cluster/endpoints/endpoint-lookup.ts";
import { EndpointLoads } from "../../../src/invocation/core/endpoint-loads.ts";
import { pickEndpoint, type PickRequest } from "../../../src/invocation/core/pick-endpoint.ts";
import { endpointOn, endpointSet } from "../../support/endpoint-sets.ts";

const SELF = parseNodeId("n1");
const ROUNDS = 200;

function pick(endpoints: readonly Endpoint[], more: Partial<PickRequest> = {}): ReturnType<typeof pickEndpoint> {
  const idle = { inFlight: 0, latencyMs: undefined };
  return pickEndpoint({
    endpoints: endpointSet(endpoints, SELF),
    tried: new Set(),
    artifact: undefined,
    range: undefined,
    self: SELF,
    isServing: () => true,
    standingOf: () => "use",
    loadOf: () => idle,
    random: new SeededRandom(1),
    ...more,
  });
}

/** The ids that many picks chose. */
function pickMany(endpoints: readonly Endpoint[], more: Partial<PickRequest> = {}): Map<string, number> {
  const random = new SeededRandom(5);
  const set = endpointSet(endpoints, SELF);
  const counts = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const id = pick([], { endpoints: set, random, ...more })?.endpoint.id ?? "none";
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

function version(node: string, text: string): Endpoint {
  return endpointOn(node, { artifact: parseArtifactId(text) });
}

describe("choosing an endpoint", () => {
  const [here, there, far] = [endpointOn("n1"), endpointOn("n2"), endpointOn("n3")];

  test("an idle endpoint on this node is preferred", () => {
    expect([...pickMany([there, here, far]).keys()]).toEqual([here.id]);
  });

  test("a local endpoint that is far busier than another gives way", () => {
    const loadOf: PickRequest["loadOf"] = ({ node }) => ({ inFlight: node === SELF ? 100 : 0, latencyMs: 5 });
    expect(pick([there, here], { loadOf })?.endpoint.id).toBe(there.id);
  });

  test("of two remote endpoints the one with less in flight wins", () => {
    const loadOf: PickRequest["loadOf"] = ({ node }) => ({ inFlight: node === there.node ? 9 : 1, latencyMs: 5 });
    expect(pick([there, far], { loadOf })?.endpoint.id).toBe(far.id);
  });

  test("idle remote endpoints share the calls", () => {
    const counts = pickMany([there, far]);
    expect(Math.min(counts.get(there.id) ?? 0, counts.get(far.id) ?? 0)).toBeGreaterThan(ROUNDS * 0.3);
  });

  test("an endpoint that failed this call is not chosen while another is left", () => {
    const tried = new Set([here.id]);
    expect(pick([here, there], { tried })).toMatchObject({ endpoint: { id: there.id }, hasOther: false });
    expect(pick([here], { tried })).toMatchObject({ endpoint: { id: here.id }, hasOther: false });
  });

  test("an endpoint on a node that does not serve is never chosen, not even as the last one", () => {
    const isServing: PickRequest["isServing"] = (node) => node !== SELF;
    expect([...pickMany([here, there], { isServing }).keys()]).toEqual([there.id]);
    expect(pick([here], { isServing })).toBeUndefined();
  });

  test("an endpoint to avoid is chosen only when nothing else is left, and then it is not refused", () => {
    const standingOf: PickRequest["standingOf"] = ({ node }) => (node === SELF ? "avoid" : "use");
    expect([...pickMany([here, there], { standingOf }).keys()]).toEqual([there.id]);
    // Rather once more to one that works.
    expect(pick([here, there], { standingOf, tried: new Set([there.id]) })?.endpoint.id).toBe(there.id);
    expect(pick([here], { standingOf })).toMatchObject({ endpoint: { id: here.id }, hasOther: false });
    expect(pick([there, far], { standingOf: () => "avoid" })?.hasOther).toBe(true);
  });

  test("an endpoint that waits for a probe gets the next call, once", () => {
    const standingOf: PickRequest["standingOf"] = ({ node }) => (node === far.node ? "probe" : "use");
    expect([...pickMany([here, there, far], { standingOf }).keys()]).toEqual([far.id]);
    expect(pick([here, far], { standingOf, tried: new Set([far.id]) })?.endpoint.id).toBe(here.id);
  });
});

describe("a slice with many instances", () => {
  const many = Array.from({ length: 1_000 }, (_, index) => endpointOn(`n${2 + (index % 5)}`, { index }));

  test("a choice looks at a few of them only", () => {
    let looks = 0;
    const endpoints = endpointSet(many, SELF);
    const counted: Partial<PickRequest> = { endpoints, isServing: () => ++looks > 0 };
    for (let round = 0; round < ROUNDS; round += 1) pick([], counted);
    expect(looks / ROUNDS).toBeLessThan(4);
  });

  test("all of them get calls, and the local one is always considered", () => {
    expect(pickMany(many).size).toBeGreaterThan(ROUNDS * 0.8);
    const here = endpointOn("n1");
    expect([...pickMany([...many, here]).keys()]).toEqual([here.id]);
  });

  test("the one that can take a call is found among all that cannot", () => {
    const [only] = many;
    const standingOf: PickRequest["standingOf"] = ({ id }) => (id === only?.id ? "use" : "avoid");
    expect([...pickMany(many, { standingOf }).keys()]).toEqual([only?.id]);
    const isServing: PickRequest["isServing"] = (node) => node === parseNodeId("n6");
    expect([...pickMany(many, { isServing }).keys()].every((id) => id.startsWith("n6/"))).toBe(true);
  });
});

describe("choosing a version", () => {
  const wanted = { artifact: "demo:pricing:1.0.0" };
  const [exact, patch, minor, breaking] = [
    version("n2", "demo:pricing:1.0.0"), version("n2", "demo:pricing:1.0.5"), version("n2", "demo:pricing:1.10.0"),
    version("n2", "demo:pricing:2.0.0"),
  ];

  test("the one the caller was resolved with comes first, then the newest in the declared range", () => {
    const range = "^1.0.0";
    expect(pick([breaking, patch, minor, exact], { ...wanted, range })?.endpoint.id).toBe(exact.id);
    expect(pick([breaking, patch, minor], { ...wanted, range })?.endpoint.id).toBe(minor.id);
    expect(pick([breaking, patch, minor], { ...wanted, range: "~1.0.0" })?.endpoint.id).toBe(patch.id);
    expect(pick([breaking], { ...wanted, range })).toBeUndefined();
    expect(pick([breaking, minor], { ...wanted, range: "1.0.0" })).toBeUndefined();
  });

  test("a caller that declared no range takes the newest version there is", () => {
    expect(pick([patch, breaking, minor], wanted)?.endpoint.id).toBe(breaking.id);
  });

  test("a caller from outside takes any version", () => {
    expect(pickMany([exact, version("n3", "demo:pricing:2.0.0")]).size).toBe(2);
  });

  test("a version whose nodes do not serve is as good as not there", () => {
    const elsewhere = version("n3", "demo:pricing:1.2.0");
    const isServing: PickRequest["isServing"] = (node) => node === elsewhere.node;
    expect(pick([exact, elsewhere], { ...wanted, range: "^1.0.0", isServing })?.endpoint.id).toBe(elsewhere.id);
  });

  test("a range is of one artifact, and what is no range fits nothing", () => {
    const other = version("n2", "else:pricing:1.0.1");
    expect(pick([other], { ...wanted, range: "^1.0.0" })).toBeUndefined();
    expect(pick([minor], { ...wanted, range: "later" })).toBeUndefined();
    expect(pick([minor], { ...wanted, range: `>=1.0.0${" || >=1.0.0".repeat(1_000)}` })).toBeUndefined();
  });
});

describe("choosing while a slice goes from one version to another", () => {
  const [old, next, breaking] = [
    version("n2", "demo:pricing:1.0.0"), version("n3", "demo:pricing:1.1.0"), version("n3", "demo:pricing:2.0.0"),
  ];
  const wanted = { artifact: "demo:pricing:1.0.0", range: "^1.0.0" };
  const chosen = (endpoints: readonly Endpoint[], more: Partial<PickRequest> = wanted): readonly string[] => {
    const shared = endpointSet(endpoints, SELF, { kind: "even" });
    return [...pickMany([], { endpoints: shared, ...more }).keys()].sort();
  };

  test("the calls of all callers go to both versions, and the one they were resolved with does not come first", () => {
    expect(chosen([old, next])).toEqual([old.id, next.id]);
    expect(chosen([old, next], { ...wanted, artifact: "demo:pricing:1.1.0" })).toEqual([old.id, next.id]);
    expect(chosen([old, next], { artifact: undefined, range: undefined })).toEqual([old.id, next.id]);
  });

  test("a version outside of the declared range gets none of them", () => {
    expect(chosen([old, next, breaking])).toEqual([old.id, next.id]);
    expect(chosen([breaking])).toEqual(["none"]);
  });
});

describe("choosing while versions have shares of the calls", () => {
  const versionOf = (letter: string, text: string) =>
    ({ artifact: parseArtifactId(text), specDigest: parseDigest(letter.repeat(64)), revision: 1 });
  const [before, target] = [versionOf("a", "demo:pricing:1.0.0"), versionOf("b", "demo:pricing:1.1.0")];
  const on = (node: string, { artifact, specDigest }: typeof target) => endpointOn(node, { artifact, specDigest });
  const [old, older, next] = [on("n2", before), on("n3", before), on("n1", target)];
  const wanted = { artifact: before.artifact, range: "^1.0.0" };
  const sharedOf = (targetShare: number, endpoints = [old, older, next], goal = target) =>
    endpointSet(endpoints, SELF, { kind: "shares", target: goal, previous: before, targetShare });
  const countOf = (targetShare: number, more: Partial<PickRequest> = {}, endpoints?: readonly Endpoint[]) =>
    pickMany([], { endpoints: sharedOf(targetShare, endpoints === undefined ? undefined : [...endpoints]), ...more });

  test("the target gets its share and no more, from whomever the call comes and wherever it runs", () => {
    for (const caller of [{}, wanted, { ...wanted, artifact: target.artifact }]) {
      const count = countOf(2_500, caller).get(next.id) ?? 0;
      expect(count).toBeGreaterThan(ROUNDS * 0.15);
      expect(count).toBeLessThan(ROUNDS * 0.35);
    }
  });

  test("a version without a share gets nothing while the other has any endpoint, working or not", () => {
    expect([...countOf(0).keys()].sort()).toEqual([old.id, older.id]);
    expect([...countOf(10_000, wanted).keys()]).toEqual([next.id]);
    const avoid: PickRequest["standingOf"] = ({ id }) => (id === next.id ? "avoid" : "use");
    expect([...countOf(10_000, { standingOf: avoid }).keys()]).toEqual([next.id]);
    expect([...countOf(10_000, { tried: new Set([next.id]) }).keys()]).toEqual([next.id]);
    const isServing: PickRequest["isServing"] = (node) => node !== next.node;
    expect([...countOf(10_000, { isServing }).keys()].sort()).toEqual([old.id, older.id]);
  });

  test("a call that failed at the target is tried at the version before, and the other way round", () => {
    expect([...countOf(9_999, { tried: new Set([next.id]) }).keys()].sort()).toEqual([old.id, older.id]);
    expect(pick([], { endpoints: sharedOf(9_999) })).toMatchObject({ endpoint: { id: next.id }, hasOther: true });
    expect(countOf(1, { tried: new Set([old.id, older.id]) }).get(next.id)).toBe(ROUNDS);
  });

  test("what the caller did not declare to take gets none of its calls", () => {
    const breaking = versionOf("c", "demo:pricing:2.0.0");
    const endpoints = sharedOf(10_000, [old, on("n1", breaking)], breaking);
    expect(pick([], { endpoints, ...wanted })?.endpoint.id).toBe(old.id);
  });

  test("two configs of one artifact are told apart, and who does not say is of the version before", () => {
    const changed = versionOf("b", "demo:pricing:1.0.0");
    const silent = endpointOn("n3", { artifact: before.artifact, index: 2 });
    const endpoints = sharedOf(0, [on("n1", changed), silent], changed);
    expect([...pickMany([], { endpoints }).keys()]).toEqual([silent.id]);
  });
});

describe("what is known of loads", () => {
  const endpoint = endpointOn("n2");

  test("latency is smoothed, and a slow measurement is forgotten with time", () => {
    const loads = new EndpointLoads();
    const [first, second] = [loads.begin(endpoint, 0), loads.begin(endpoint, 0)];
    loads.end(first, "answered", 100);
    expect(loads.loadOf(endpoint, 100)).toEqual({ inFlight: 1, latencyMs: 100 });
    loads.end({ ...second, startMs: -100 }, "answered", 100);
    expect(loads.loadOf(endpoint, 100)).toEqual({ inFlight: 0, latencyMs: 120 });
    expect(loads.loadOf(endpoint, 10_100).latencyMs).toBeCloseTo(60);
  });

  test("a failure makes an endpoint dearer however quick it was, a handler's failure says nothing", () => {
    const loads = new EndpointLoads();
    loads.end(loads.begin(endpoint, 0), "handled", 5);
    loads.end(loads.begin(endpoint, 5), "neutral", 5);
    expect(loads.loadOf(endpoint, 5).latencyMs).toBeUndefined();
    loads.end(loads.begin(endpoint, 5), "answered", 10);
    loads.end(loads.begin(endpoint, 10), "failed", 10);
    expect(loads.loadOf(endpoint, 10).latencyMs).toBeGreaterThan(10);
  });

  test("failures do not change what is usual there", () => {
    const loads = new EndpointLoads();
    expect(loads.usualMsOf(endpoint)).toBeUndefined();
    loads.end(loads.begin(endpoint, 0), "answered", 10);
    for (let failures = 0; failures < 3; failures += 1) loads.end(loads.begin(endpoint, 10), "failed", 1_010);
    expect(loads.usualMsOf(endpoint)).toBe(10);
    expect(loads.loadOf(endpoint, 1_010).latencyMs).toBeGreaterThan(100);
  });

  test("five failures open the breaker, and a probe that is answered makes the endpoint as good as new", () => {
    const loads = new EndpointLoads();
    const changes = Array.from({ length: 5 }, () => loads.end(loads.begin(endpoint, 0), "failed", 0));
    expect(changes).toEqual([undefined, undefined, undefined, undefined, "opened"]);
    expect([loads.brokenCount, loads.standingOf(endpoint, 999), loads.standingOf(endpoint, 1_000)])
      .toEqual([1, "avoid", "probe"]);
    const probe = loads.begin(endpoint, 1_000);
    expect([probe.isProbe, loads.begin(endpoint, 1_000).isProbe]).toEqual([true, false]);
    expect(loads.standingOf(endpoint, 1_000)).toBe("avoid");
    expect(loads.end(probe, "answered", 1_001)).toBe("closed");
    expect([loads.brokenCount, loads.standingOf(endpoint, 1_001)]).toEqual([0, "use"]);
    expect(loads.loadOf(endpoint, 1_001).latencyMs).toBeUndefined();
  });

  test("an endpoint that goes takes its breaker with it", () => {
    const loads = new EndpointLoads();
    for (let failures = 0; failures < 5; failures += 1) loads.end(loads.begin(endpoint, 0), "failed", 0);
    loads.forgetBroken(() => true);
    expect(loads.brokenCount).toBe(1);
    loads.forgetBroken(() => false);
    expect([loads.brokenCount, loads.standingOf(endpoint, 0)]).toEqual([0, "use"]);
  });
});
