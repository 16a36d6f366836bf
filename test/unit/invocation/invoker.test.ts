import { describe, expect, test } from "vitest";
import { encode } from "../../../src/base/codec.ts";
import { parseNodeId, type NodeId } from "../../../src/base/ids.ts";
import { SeededRandom } from "../../../src/base/random.ts";
import type { Endpoint } from "../../../src/cluster/endpoint-lookup.ts";
import { parseCallMessage } from "../../../src/invocation/core/call-codec.ts";
import { createInvocation } from "../../../src/invocation/create-invocation.ts";
import { InvocationConfig } from "../../../src/invocation/invocation-config.ts";
import type { Invoker } from "../../../src/invocation/invoker.ts";
import type { Channel, PeerEvent, PeerMessaging } from "../../../src/net/peer-messaging.ts";
import type { CallReply, OutgoingCall } from "../../../src/slices/outgoing-calls.ts";
import type { IncomingCall, IncomingReply, RunningInstances } from "../../../src/slices/running-instances.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { createRecordingTelemetry } from "../slices-runtime/runtime-fixture.ts";

type Answer = (call: IncomingCall, signal: AbortSignal) => Promise<IncomingReply>;

const OK: Answer = (call) => Promise.resolve({ kind: "ok", output: call.input });
const HANGS: Answer = () => new Promise(() => undefined);

function refusing(code: "E_UNAVAILABLE" | "E_OVERLOADED" | "E_INVALID"): Answer {
  return () => Promise.resolve({ kind: "not-started", error: { code, message: "no", outcome: "not-applied" } });
}

function failing(code: "E_HANDLER" | "E_TIMEOUT"): Answer {
  return () => Promise.resolve({ kind: "failed", error: { code, message: "died", outcome: "unknown" } });
}

/** Nodes with in-memory connections; each runs one instance of "shop" whose behaviour a test sets. */
class Network {
  readonly clock = new ManualClock();
  readonly nodes = new Map<NodeId, TestNode>();
  readonly endpoints: Endpoint[] = [];
  readonly endpointListeners: (() => void)[] = [];
  /** Questions for endpoints so far. */
  looks = 0;
  /** Everything sent, in order. */
  readonly frames: Uint8Array[] = [];
  /** Pairs that are not connected. */
  readonly cut = new Set<string>();

  add(name: string, config: Partial<InvocationConfig> = {}): TestNode {
    const node = new TestNode(this, parseNodeId(name), InvocationConfig.parse(config));
    this.nodes.set(node.id, node);
    return node;
  }

  serve(node: TestNode, effect: Endpoint["effect"], answer: Answer): void {
    node.answer = answer;
    const artifact = "demo:shop:1.0.0";
    this.endpoints.push({
      slice: "shop", method: "run", node: node.id, instance: `${artifact}/0`, artifact, effect, timeoutMs: 15_000,
    });
  }

  /** The nodes learn that `endpoints` has changed. */
  announceEndpoints(): void {
    for (const listener of this.endpointListeners) listener();
  }

  /** The connection between two nodes is lost, and both learn it. */
  disconnect(a: TestNode, b: TestNode): void {
    this.cut.add(`${a.id} ${b.id}`).add(`${b.id} ${a.id}`);
    a.announce({ kind: "down", node: b.id });
    b.announce({ kind: "down", node: a.id });
  }
}

class TestNode implements RunningInstances {
  readonly id: NodeId;
  readonly invoker: Invoker;
  readonly seen: IncomingCall[] = [];
  readonly signals: AbortSignal[] = [];
  answer: Answer = OK;
  receive: (from: NodeId, payload: Uint8Array) => void = () => undefined;
  private readonly listeners: ((event: PeerEvent) => void)[] = [];
  private readonly network: Network;

  constructor(network: Network, id: NodeId, config: InvocationConfig) {
    this.network = network;
    this.id = id;
    const { telemetry } = createRecordingTelemetry();
    const env = { clock: network.clock, random: new SeededRandom(1), telemetry };
    const lookup = {
      find: (slice: string, method: string) => {
        network.looks++;
        return network.endpoints.filter((endpoint) => endpoint.slice === slice && endpoint.method === method);
      },
      isKnown: (slice: string) => slice === "shop" || slice === "empty",
      methodsOf: (slice: string) => network.endpoints.filter((e) => e.slice === slice).map((e) => e.method),
      onChange: (listener: () => void) => void network.endpointListeners.push(listener),
    };
    this.invoker = createInvocation(env, { lookup, local: this, messaging: this.messaging(), self: id }, config);
  }

  invoke(call: IncomingCall, signal: AbortSignal = new AbortController().signal): Promise<IncomingReply> {
    this.seen.push(call);
    this.signals.push(signal);
    return this.answer(call, signal);
  }

  inFlight(): number {
    return 0;
  }

  announce(event: PeerEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  call(more: Partial<OutgoingCall> = {}, signal?: AbortSignal): Promise<CallReply> {
    return this.invoker.call({ slice: "shop", method: "run", input: { a: 1 }, timeoutMs: 10_000, ...more }, signal);
  }

  private messaging(): PeerMessaging {
    const channel: Channel = {
      send: (to, payload) => {
        const target = this.network.nodes.get(to);
        if (target === undefined || this.network.cut.has(`${this.id} ${to}`)) return false;
        this.network.frames.push(payload);
        this.network.clock.defer(() => {
          if (!this.network.cut.has(`${this.id} ${to}`)) target.receive(this.id, payload);
        });
        return true;
      },
      onMessage: (receive) => void (this.receive = receive),
      refuse: () => undefined,
    };
    return { channel: () => channel, onPeer: (listener) => void this.listeners.push(listener), connected: new Set() };
  }
}

function openPair(effect: Endpoint["effect"], answers: { readonly n2: Answer; readonly n3?: Answer }): OpenPair {
  const network = new Network();
  const [n1, n2, n3] = [network.add("n1"), network.add("n2"), network.add("n3")];
  network.serve(n2, effect, answers.n2);
  if (answers.n3 !== undefined) network.serve(n3, effect, answers.n3);
  return { network, n1, n2, n3 };
}

interface OpenPair {
  readonly network: Network;
  readonly n1: TestNode;
  readonly n2: TestNode;
  readonly n3: TestNode;
}

function idOf(frame: Uint8Array | undefined): number {
  const message = parseCallMessage(frame ?? new Uint8Array());
  return message.kind === "request" ? message.id : Number.NaN;
}

async function settled<T>(network: Network, promise: Promise<T>, advanceMs = 0): Promise<T> {
  await network.clock.advance(advanceMs);
  return await promise;
}

describe("a call that works", () => {
  test("reaches the instance on another node with the rest of the deadline, and its output comes back", async () => {
    const { network, n1, n2 } = openPair("write", { n2: OK });
    const reply = await settled(network, n1.call({ traceparent: "00-1-2-01" }));
    expect(reply).toEqual({ kind: "ok", output: { a: 1 }, attempts: 1 });
    expect(n2.seen).toMatchObject([
      { instance: "demo:shop:1.0.0/0", method: "run", timeoutMs: 10_000, traceparent: "00-1-2-01" },
    ]);
  });

  test("an absent input and output stay absent between nodes", async () => {
    const { network, n1, n2 } = openPair("read", { n2: OK });
    expect(await settled(network, n1.call({ input: undefined }))).toEqual({
      kind: "ok", output: undefined, attempts: 1,
    });
    expect(n2.seen[0]?.input).toBeUndefined();
  });

  test("stays on this node when an instance is here", async () => {
    const { network, n1, n2 } = openPair("write", { n2: OK });
    network.serve(n1, "write", OK);
    await settled(network, n1.call());
    expect([n1.seen.length, n2.seen.length]).toEqual([1, 0]);
  });
});

describe("a call that was not sent, or did not start", () => {
  test("goes to another node at once when there is no connection, whatever its effect (I3)", async () => {
    const { network, n1, n2, n3 } = openPair("write", { n2: OK, n3: OK });
    network.disconnect(n1, n2);
    for (let round = 0; round < 10; round += 1) expect(await settled(network, n1.call())).toMatchObject({ kind: "ok" });
    expect([n2.seen.length, n3.seen.length]).toEqual([0, 10]);
  });

  test("goes to another node at once when the instance is stopping (I3)", async () => {
    const { network, n1 } = openPair("write", { n2: refusing("E_UNAVAILABLE"), n3: refusing("E_UNAVAILABLE") });
    network.serve(network.add("n4"), "write", OK);
    expect(await settled(network, n1.call())).toMatchObject({ kind: "ok" });
  });

  test("an overloaded instance is left for another one after a pause", async () => {
    const { network, n1, n2 } = openPair("write", { n2: refusing("E_OVERLOADED") });
    const pending = n1.call();
    await network.clock.settle();
    expect(n2.seen).toHaveLength(1);
    network.serve(network.add("n4"), "write", OK);
    expect(await settled(network, pending, 100)).toMatchObject({ kind: "ok", attempts: 2 });
  });

  test("one endpoint that keeps refusing is tried four times, and its error says that nothing was done", async () => {
    const { network, n1, n2 } = openPair("write", { n2: refusing("E_OVERLOADED") });
    const reply = await settled(network, n1.call(), 2_000);
    expect(reply).toMatchObject({
      kind: "error", error: { code: "E_OVERLOADED", outcome: "not-applied" }, attempts: 4,
    });
    expect(n2.seen).toHaveLength(4);
  });

  test("invalid input is final", async () => {
    const { network, n1, n2, n3 } = openPair("read", { n2: refusing("E_INVALID"), n3: refusing("E_INVALID") });
    expect(await settled(network, n1.call())).toMatchObject({
      kind: "error", error: { code: "E_INVALID" }, attempts: 1,
    });
    expect(n2.seen.length + n3.seen.length).toBe(1);
  });
});

describe("a call that was sent and is not answered", () => {
  test("a write fails at once when the peer goes down, outcome unknown, and is not repeated (I1)", async () => {
    const { network, n1, n2, n3 } = openPair("write", { n2: HANGS, n3: HANGS });
    const pending = n1.call();
    await network.clock.settle();
    const reached = n2.seen.length === 1 ? n2 : n3;
    network.disconnect(n1, reached);
    expect(await pending).toMatchObject({
      kind: "error", error: { code: "E_TIMEOUT", outcome: "unknown" }, attempts: 1,
    });
    expect(n2.seen.length + n3.seen.length).toBe(1);
    expect(reached.signals[0]?.aborted).toBe(true);
  });

  for (const effect of ["read", "idempotent"] as const) {
    test(`a call with effect ${effect} moves to another node at once when the peer goes down`, async () => {
      const { network, n1, n2, n3 } = openPair(effect, { n2: HANGS, n3: HANGS });
      const pending = n1.call();
      await network.clock.settle();
      const [reached, other] = n2.seen.length === 1 ? [n2, n3] : [n3, n2];
      other.answer = OK;
      network.disconnect(n1, reached);
      expect(await settled(network, pending)).toEqual({ kind: "ok", output: { a: 1 }, attempts: 2 });
    });
  }

  test("a worker that died under a read moves the call, under a write it does not", async () => {
    const read = openPair("read", { n2: failing("E_TIMEOUT") });
    const readReply = read.n1.call();
    await read.network.clock.settle();
    read.n2.answer = OK;
    expect(await settled(read.network, readReply, 100)).toMatchObject({ kind: "ok", attempts: 2 });
    const write = openPair("write", { n2: failing("E_TIMEOUT"), n3: failing("E_TIMEOUT") });
    expect(await settled(write.network, write.n1.call())).toMatchObject({
      kind: "error", error: { code: "E_TIMEOUT", outcome: "unknown" }, attempts: 1,
    });
  });

  test("the deadline ends it, and the callee's signal aborts", async () => {
    const { network, n1, n2 } = openPair("write", { n2: HANGS });
    const reply = await settled(network, n1.call({ timeoutMs: 300 }), 300);
    expect(reply).toMatchObject({ kind: "error", error: { code: "E_TIMEOUT", outcome: "unknown" } });
    await network.clock.settle();
    expect(n2.signals[0]?.aborted).toBe(true);
  });

  test("nothing is in doubt about a read", async () => {
    const { network, n1 } = openPair("read", { n2: HANGS });
    const reply = await settled(network, n1.call({ timeoutMs: 300 }), 300);
    expect(reply).toMatchObject({ kind: "error", error: { code: "E_TIMEOUT" } });
    expect(reply.kind === "error" && reply.error.outcome).toBeUndefined();
  });

  test("an idempotent call that may have run stays in doubt, also when a later attempt was refused", async () => {
    const { network, n1, n2 } = openPair("idempotent", { n2: failing("E_TIMEOUT") });
    const pending = n1.call();
    await network.clock.settle();
    n2.answer = refusing("E_UNAVAILABLE");
    expect(await settled(network, pending, 2_000)).toMatchObject({
      kind: "error", error: { code: "E_UNAVAILABLE", outcome: "unknown" },
    });
  });

  test("a caller that gives up is answered at once, and the callee learns it", async () => {
    const { network, n1, n2 } = openPair("read", { n2: HANGS });
    const leave = new AbortController();
    const pending = n1.call({}, leave.signal);
    await network.clock.settle();
    leave.abort();
    expect(await pending).toMatchObject({ kind: "error", error: { code: "E_TIMEOUT" }, attempts: 1 });
    await network.clock.settle();
    expect(n2.signals[0]?.aborted).toBe(true);
  });
});

describe("a call that fails in its handler", () => {
  test("is never repeated, not even a read (I2)", async () => {
    const { network, n1, n2, n3 } = openPair("read", { n2: failing("E_HANDLER"), n3: failing("E_HANDLER") });
    expect(await settled(network, n1.call())).toMatchObject({
      kind: "error", error: { code: "E_HANDLER" }, attempts: 1,
    });
    expect(n2.seen.length + n3.seen.length).toBe(1);
  });
});

describe("a call without endpoint", () => {
  test("waits for one within the deadline", async () => {
    const { network, n1, n2 } = openPair("write", { n2: OK });
    const [endpoint] = network.endpoints.splice(0);
    const pending = n1.call();
    await network.clock.advance(1_000);
    if (endpoint !== undefined) network.endpoints.push(endpoint);
    network.announceEndpoints();
    expect(await settled(network, pending, 100)).toMatchObject({ kind: "ok" });
    expect(n2.seen[0]?.timeoutMs).toBeLessThanOrEqual(9_000);
  });

  test("goes on as soon as there is one, without looking for it in vain", async () => {
    const { network, n1 } = openPair("write", { n2: OK });
    const [endpoint] = network.endpoints.splice(0);
    const pending = n1.call();
    await network.clock.advance(1_000);
    const looks = network.looks;
    await network.clock.advance(1_000);
    expect(network.looks).toBe(looks);
    if (endpoint !== undefined) network.endpoints.push(endpoint);
    network.announceEndpoints();
    expect(await settled(network, pending)).toMatchObject({ kind: "ok" });
  });

  test("an endpoint that comes when the deadline has passed is not called any more", async () => {
    const { network, n1, n2 } = openPair("write", { n2: HANGS });
    const [endpoint] = network.endpoints.splice(0);
    const pending = n1.call({ timeoutMs: 100 });
    network.clock.setTimer(100, () => {
      if (endpoint !== undefined) network.endpoints.push(endpoint);
      network.announceEndpoints();
    });
    expect(await settled(network, pending, 200)).toMatchObject({ kind: "error", error: { outcome: "not-applied" } });
    expect(n2.seen).toEqual([]);
  });

  test("gives up after five seconds, or at the deadline", async () => {
    const { network, n1 } = openPair("write", { n2: OK });
    network.endpoints.length = 0;
    const long = n1.call({ slice: "empty" });
    const short = n1.call({ slice: "empty", timeoutMs: 50 });
    expect(await settled(network, short, 100)).toMatchObject({
      error: { code: "E_UNAVAILABLE", outcome: "not-applied" },
    });
    expect(await settled(network, long, 5_000)).toMatchObject({ error: { code: "E_UNAVAILABLE" }, attempts: 0 });
  });

  test("an unknown slice and an unknown method are refused at once, the latter naming the methods", async () => {
    const { n1 } = openPair("write", { n2: OK });
    expect(await n1.call({ slice: "nope" })).toMatchObject({ error: { code: "E_NOT_FOUND" } });
    expect(await n1.call({ method: "walk" })).toMatchObject({
      error: { code: "E_NOT_FOUND", message: expect.stringContaining("run"), details: { methods: ["run"] } },
    });
  });
});

describe("limits and refusals", () => {
  test("calls beyond the limit of a node are refused before anything is sent", async () => {
    const network = new Network();
    const n1 = network.add("n1", { callsInFlightMax: 1 });
    network.serve(n1, "read", HANGS);
    void n1.call({ timeoutMs: 50 });
    expect(await n1.call()).toMatchObject({ error: { code: "E_OVERLOADED", outcome: "not-applied" }, attempts: 0 });
    await network.clock.advance(50);
  });

  test("calls of one peer beyond its limit are refused as not started", async () => {
    const network = new Network();
    const [n1, n2] = [network.add("n1"), network.add("n2", { peerCallsMax: 1 })];
    network.serve(n2, "read", HANGS);
    const first = n1.call({ timeoutMs: 2_000 });
    const second = n1.call({ timeoutMs: 2_000 });
    await network.clock.advance(1_000);
    expect(await second).toMatchObject({ error: { code: "E_OVERLOADED" } });
    await settled(network, first, 2_000);
  });

  test("an idempotency key is refused for a write, and handed through otherwise", async () => {
    const write = openPair("write", { n2: OK });
    expect(await settled(write.network, write.n1.call({ idempotencyKey: "k" }))).toMatchObject({
      error: { code: "E_INVALID" },
    });
    expect(write.n2.seen).toHaveLength(0);
    const idempotent = openPair("idempotent", { n2: OK });
    await settled(idempotent.network, idempotent.n1.call({ idempotencyKey: "k" }));
    expect(idempotent.n2.seen).toMatchObject([{ idempotencyKey: "k" }]);
  });

  test("a key that no peer would understand is refused, wherever the instance runs", async () => {
    const { n1 } = openPair("read", { n2: OK });
    for (const idempotencyKey of ["", "k".repeat(2_000)]) {
      expect(await n1.call({ idempotencyKey })).toMatchObject({
        error: { code: "E_INVALID", outcome: "not-applied" }, attempts: 0,
      });
    }
  });

  test("a trace context that is none is left out", async () => {
    const { network, n1, n2 } = openPair("read", { n2: OK });
    expect(await settled(network, n1.call({ traceparent: "x".repeat(2_000) }))).toMatchObject({ kind: "ok" });
    expect(n2.seen[0]?.traceparent).toBeUndefined();
  });

  test("unusable deadlines and inputs are refused, a passed deadline is a timeout that did nothing", async () => {
    const { network, n1, n2 } = openPair("write", { n2: OK });
    expect(await n1.call({ timeoutMs: Number.NaN })).toMatchObject({ error: { code: "E_INVALID" } });
    expect(await n1.call({ timeoutMs: 1e9 })).toMatchObject({ error: { code: "E_INVALID" } });
    expect(await n1.call({ timeoutMs: 0 })).toMatchObject({ error: { code: "E_TIMEOUT", outcome: "not-applied" } });
    expect(await settled(network, n1.call({ input: new Map() }))).toMatchObject({ error: { code: "E_INVALID" } });
    expect(await settled(network, n1.call({ input: "x".repeat(5_000_000) }))).toMatchObject({
      error: { code: "E_TOO_LARGE" },
    });
    expect(n2.seen).toHaveLength(0);
  });

  test("garbage, late replies and replies of another node change nothing", async () => {
    const { network, n1, n2, n3 } = openPair("read", { n2: HANGS });
    const pending = n1.call();
    await network.clock.settle();
    const id = idOf(network.frames[0]);
    n1.receive(n3.id, new Uint8Array([0xc1]));
    n1.receive(n3.id, encode([2, id, 0, "forged"]));
    n2.answer = OK;
    network.disconnect(n1, n2);
    network.cut.clear();
    n1.receive(n2.id, encode([2, id, 0, "late"]));
    expect(await settled(network, pending, 1_000)).toMatchObject({ kind: "ok", output: { a: 1 }, attempts: 2 });
  });

  test("the same request twice on one connection runs once", async () => {
    const { network, n1, n2 } = openPair("write", { n2: HANGS });
    void n1.call({ timeoutMs: 50 });
    await network.clock.settle();
    n2.receive(n1.id, network.frames[0] ?? new Uint8Array());
    expect(n2.seen).toHaveLength(1);
    await network.clock.advance(50);
  });
});
