import { describe, expect, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { SeededRandom } from "../../../src/base/random.ts";
import type { Endpoint } from "../../../src/cluster/endpoint-lookup.ts";
import { EndpointLoads, endpointId } from "../../../src/invocation/core/endpoint-loads.ts";
import { pickEndpoint, type PickRequest } from "../../../src/invocation/core/pick-endpoint.ts";

const SELF = parseNodeId("n1");

function endpointOn(node: string, artifact = "demo:pricing:1.0.0"): Endpoint {
  return {
    slice: "pricing", method: "quote", node: parseNodeId(node), instance: `${artifact}/0`, artifact, effect: "read",
    timeoutMs: 1_000,
  };
}

function pick(endpoints: readonly Endpoint[], more: Partial<PickRequest> = {}): ReturnType<typeof pickEndpoint> {
  const idle = { inFlight: 0, latencyMs: undefined };
  return pickEndpoint({
    endpoints,
    tried: new Set(),
    artifact: undefined,
    self: SELF,
    loadOf: () => idle,
    random: new SeededRandom(1),
    ...more,
  });
}

describe("choosing an endpoint", () => {
  const [here, there, far] = [endpointOn("n1"), endpointOn("n2"), endpointOn("n3")];

  test("an idle endpoint on this node is preferred", () => {
    const random = new SeededRandom(3);
    for (let round = 0; round < 100; round += 1) {
      expect(pick([there, here, far], { random })?.endpoint).toBe(here);
    }
  });

  test("a local endpoint that is far busier than another gives way", () => {
    const loadOf: PickRequest["loadOf"] = ({ node }) => ({ inFlight: node === SELF ? 100 : 0, latencyMs: 5 });
    expect(pick([there, here], { loadOf })?.endpoint).toBe(there);
  });

  test("of two remote endpoints the one with less in flight wins", () => {
    const loadOf: PickRequest["loadOf"] = ({ node }) => ({ inFlight: node === there.node ? 9 : 1, latencyMs: 5 });
    expect(pick([there, far], { loadOf })?.endpoint).toBe(far);
  });

  test("idle remote endpoints share the calls", () => {
    const random = new SeededRandom(5);
    const counts = new Map<string, number>();
    for (let round = 0; round < 1_000; round += 1) {
      const node = pick([there, far], { random })?.endpoint.node ?? "";
      counts.set(node, (counts.get(node) ?? 0) + 1);
    }
    expect(Math.min(...counts.values())).toBeGreaterThan(300);
  });

  test("an endpoint that failed this call is not chosen while another is left", () => {
    const tried = new Set([endpointId(here)]);
    expect(pick([here, there], { tried })).toEqual({ endpoint: there, hasOther: false });
    expect(pick([here], { tried })).toEqual({ endpoint: here, hasOther: false });
  });

  test("the resolved version is preferred, a compatible one is the fallback, another line never is", () => {
    const exact = endpointOn("n2", "demo:pricing:1.0.0");
    const newer = endpointOn("n2", "demo:pricing:1.4.0");
    const breaking = endpointOn("n2", "demo:pricing:2.0.0");
    expect(pick([breaking, newer, exact], { artifact: "demo:pricing:1.0.0" })?.endpoint).toBe(exact);
    expect(pick([breaking, newer], { artifact: "demo:pricing:1.0.0" })?.endpoint).toBe(newer);
    expect(pick([breaking], { artifact: "demo:pricing:1.0.0" })).toBeUndefined();
    expect(pick([endpointOn("n2", "demo:pricing:0.3.0")], { artifact: "demo:pricing:0.2.9" })).toBeUndefined();
    expect(pick([endpointOn("n2", "demo:pricing:0.2.0")], { artifact: "demo:pricing:0.2.9" })).toBeDefined();
  });
});

describe("what is known of loads", () => {
  test("latency is smoothed, and a slow measurement is forgotten with time", () => {
    const loads = new EndpointLoads();
    const endpoint = endpointOn("n2");
    loads.begin(endpoint);
    loads.begin(endpoint);
    loads.end(endpoint, 0, 100);
    expect(loads.loadOf(endpoint, 0)).toEqual({ inFlight: 1, latencyMs: 100 });
    loads.end(endpoint, 0, 200);
    expect(loads.loadOf(endpoint, 0)).toEqual({ inFlight: 0, latencyMs: 120 });
    expect(loads.loadOf(endpoint, 10_000).latencyMs).toBeCloseTo(60);
  });

  test("a failed call says nothing about latency", () => {
    const loads = new EndpointLoads();
    loads.begin(endpointOn("n2"));
    loads.end(endpointOn("n2"), 5, undefined);
    expect(loads.loadOf(endpointOn("n2"), 5)).toEqual({ inFlight: 0, latencyMs: undefined });
  });
});
