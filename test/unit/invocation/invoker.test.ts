import { describe, expect, test } from "vitest";
import { encode } from "../../../src/base/codec.ts";
import { parseArtifactId, parseDigest, parseNodeId, type NodeId } from "../../../src/base/ids.ts";
import { SeededRandom } from "../../../src/base/random.ts";
import { MiB } from "../../../src/base/units.ts";
import type { Endpoint } from "../../../src/cluster/endpoints/endpoint-lookup.ts";
import { encodeCallMessage, parseCallMessage } from "../../../src/invocation/core/call-codec.ts";
import { createInvocation } from "../../../src/invocation/create-invocation.ts";
import { InvocationConfig } from "../../../src/invocation/invocation-config.ts";
import type { Invoker } from "../../../src/invocation/invoker.ts";
import { CallTallies } from "../../../src/metrics/call-tallies.ts";
import type { Channel, PeerEvent, PeerMessaging } from "../../../src/net/peer-messaging.ts";
import type { CallReply, OutgoingCall } from "../../../src/slices/host/outgoing-calls.ts";
import type { IncomingCall, IncomingReply, RunningInstances } from "../../../src/slices/host/running-instances.ts";
import type { TriedCall } from "../../../src/cluster/rollouts/call-tallies.ts";
import { endpointOn, endpointSet } from "../../support/endpoint-sets.ts";
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
  /** Nodes that nobody calls. */
  readonly suspected = new Set<NodeId>();
  /** Methods of "shop" by its manifest. */
  readonly methods = ["run"];
  /** Questions for endpoints so far. */
  looks = 0;
  /** Messages that a node could not read: each ends a connection. */
  readonly refused: string[] = [];
  /** Everything sent, in order. */
  readonly frames: Uint8Array[] = [];
  /** Pairs that are not connected. */
  readonly cut = new Set<string>();
  /** Pairs that are connected, where the queue from the first to the second has no room. */
  readonly full = new Set<string>();

  add(name: string, config: Partial<InvocationConfig> = {}): TestNode {
    const node = new TestNode(this, parseNodeId(name), InvocationConfig.parse(config));
    this.nodes.set(node.id, node);
    return node;
  }

  serve(node: TestNode, effect: Endpoint["effect"], answer: Answer): void {
    node.answer = answer;
    const artifact = parseArtifactId("demo:shop:1.0.0");
    this.endpoints.push(endpointOn(node.id, { slice: "shop", method: "run", artifact, effect, timeoutMs: 15_000 }));
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
  /** What was said of each attempt that reached a handler. */
  readonly noted: TriedCall[] = [];
  /** Counts of the calls that this node made. */
  readonly made = new CallTallies("made");
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
        const found = network.endpoints.filter((endpoint) => endpoint.slice === slice && endpoint.method === method);
        return endpointSet(found, id);
      },
      isServing: (node: NodeId) => !network.suspected.has(node),
      isKnown: (slice: string) => slice === "shop" || slice === "empty",
      declaredMethods: (slice: string) => Promise.resolve(slice === "shop" ? network.methods : undefined),
      onChange: (listener: () => void) => void network.endpointListeners.push(listener),
    };
    const tally = { note: (call: TriedCall) => void this.noted.push(call) };
    const ports = { lookup, local: this, messaging: this.messaging(), self: id, tally, made: this.made };
    this.invoker = createInvocation(env, ports, config);
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
        const pair = `${this.id} ${to}`;
        if (target === undefined || this.network.cut.has(pair) || this.network.full.has(pair)) return false;
        this.network.frames.push(payload);
        this.network.clock.defer(() => {
          if (!this.network.cut.has(`${this.id} ${to}`)) target.receive(this.id, payload);
        });
        return true;
      },
      onMessage: (receive) => void (this.receive = receive),
      refuse: (from, reason) => void this.network.refused.push(`${from}: ${reason}`),
    };
    const onPeer = (listener: (event: PeerEvent) => void): void => void this.listeners.push(listener);
    const { network, id } = this;
    return {
      channel: () => channel,
      onPeer,
      get connected() {
        return new Set([...network.nodes.keys()].filter((node) => !network.cut.has(`${id} ${node}`)));
      },
    };
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
    const reply = await settled(network, n1.call());
    expect(reply).toEqual({ kind: "ok", output: { a: 1 }, attempts: 1 });
    expect(n2.seen).toMatchObject([{ instance: "demo:shop:1.0.0/0", method: "run", timeoutMs: 10_000 }]);
  });

  test("whose caller gives no deadline has that of the method, or 15 seconds", async () => {
    const { network, n1, n2 } = openPair("write", { n2: HANGS });
    network.endpoints[0] = endpointOn("n2", { ...network.endpoints[0], timeoutMs: 300 });
    const reply = await settled(network, n1.invoker.call({ slice: "shop", method: "run", input: {} }), 300);
    expect([reply.kind, n2.seen[0]?.timeoutMs]).toEqual(["error", 300]);
    network.endpoints.length = 0;
    const pending = n1.invoker.call({ slice: "shop", method: "run", input: {} });
    await network.clock.settle();
    n2.answer = OK;
    network.serve(n2, "write", OK);
    network.announceEndpoints();
    await settled(network, pending);
    expect(n2.seen[1]?.timeoutMs).toBe(15_000);
  });

  test("is told to who counts how versions do, as is one that fails, but not one whose caller leaves", async () => {
    const { network, n1, n2 } = openPair("write", { n2: OK });
    const specDigest = parseDigest("a".repeat(64));
    network.endpoints[0] = endpointOn("n2", { ...network.endpoints[0], specDigest });
    await settled(network, n1.call());
    n2.answer = HANGS;
    await settled(network, n1.call({ timeoutMs: 300 }), 300);
    const controller = new AbortController();
    const pending = n1.call({}, controller.signal);
    await network.clock.settle();
    controller.abort();
    await settled(network, pending);
    const about = { slice: "shop", specDigest };
    expect(n1.noted).toMatchObject([{ ...about, outcome: "ok", ms: 0 }, { ...about, outcome: "failed", ms: 300 }]);
  });

  test("is a hop of its own in its caller's trace, and begins one for a caller without", async () => {
    const { network, n1, n2 } = openPair("write", { n2: OK });
    const [trace, span] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];
    const calls = [`00-${trace}-${span}-01`, undefined, "x".repeat(2_000), "00-1-2-01"];
    for (const traceparent of calls) {
      await settled(network, n1.call(traceparent === undefined ? {} : { traceparent }));
    }
    const seen = n2.seen.map(({ traceparent = "" }) => traceparent.split("-"));
    expect(seen[0]).toMatchObject(["00", trace, expect.not.stringMatching(span), "01"]);
    for (const parts of seen.slice(1)) {
      expect(parts).toMatchObject(["00", expect.stringMatching(/^[0-9a-f]{32}$/), expect.stringMatching(/^[0-9a-f]{16}$/), "00"]);
    }
    expect(new Set(seen.map((parts) => parts[1])).size).toBe(4);
    expect(new Set(seen.map((parts) => parts[2])).size).toBe(4);
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
      error: {
        code: "E_NOT_FOUND", message: expect.stringContaining("run"), details: { methods: ["run"], class: "not-sent" },
      },
    });
  });

  test("a method that only the new version has is waited for while instances of the old one serve", async () => {
    const { network, n1, n2 } = openPair("read", { n2: OK });
    network.methods.push("walk");
    const pending = n1.call({ method: "walk" });
    await network.clock.advance(1_000);
    network.endpoints.push(endpointOn(n2.id, { ...network.endpoints[0], method: "walk" }));
    network.announceEndpoints();
    expect(await settled(network, pending)).toMatchObject({ kind: "ok", attempts: 1 });
  });

  test("a method that goes while it is waited for is refused as soon as that is known", async () => {
    const { network, n1, n2 } = openPair("write", { n2: OK });
    network.suspected.add(n2.id);
    const pending = n1.call();
    await network.clock.advance(1_000);
    network.methods.splice(0, 1, "walk");
    network.endpoints.length = 0;
    network.announceEndpoints();
    expect(await settled(network, pending, 100)).toMatchObject({
      error: {
        code: "E_NOT_FOUND", outcome: "not-applied", details: { methods: ["walk"], class: "not-sent" },
      },
      attempts: 0,
    });
  });

  test("an instance on a suspected node is waited for, and called when the node is back", async () => {
    const { network, n1, n2 } = openPair("read", { n2: OK });
    network.suspected.add(n2.id);
    const pending = n1.call();
    await network.clock.advance(1_000);
    expect(n2.seen).toEqual([]);
    network.suspected.delete(n2.id);
    network.announceEndpoints();
    expect(await settled(network, pending)).toMatchObject({ kind: "ok", attempts: 1 });
  });
});

describe("the class of a failed call", () => {
  type Effect = Endpoint["effect"];

  async function classAfter(effect: Effect, answer: Answer, more: Partial<OutgoingCall> = {}): Promise<unknown> {
    const { network, n1 } = openPair(effect, { n2: answer });
    const reply = await settled(network, n1.call({ timeoutMs: 2_000, ...more }), 6_000);
    return reply.kind === "error" ? reply.error.details?.["class"] : reply;
  }

  test("says how the last attempt went", async () => {
    expect(await classAfter("write", refusing("E_UNAVAILABLE"))).toBe("not-started");
    expect(await classAfter("write", refusing("E_INVALID"))).toBe("not-started");
    expect(await classAfter("write", refusing("E_OVERLOADED"))).toBe("overloaded");
    expect(await classAfter("write", failing("E_HANDLER"))).toBe("handler");
    expect(await classAfter("write", failing("E_TIMEOUT"))).toBe("no-answer");
    expect(await classAfter("write", HANGS)).toBe("no-answer");
    expect(await classAfter("read", HANGS)).toBe("no-answer");
  });

  test("is not-sent when no instance got it, whoever refused it", async () => {
    expect(await classAfter("write", OK, { slice: "nope" })).toBe("not-sent");
    expect(await classAfter("write", OK, { slice: "empty" })).toBe("not-sent");
    expect(await classAfter("write", OK, { timeoutMs: 0 })).toBe("not-sent");
    expect(await classAfter("write", OK, { idempotencyKey: "" })).toBe("not-sent");
    const { network, n1, n2 } = openPair("write", { n2: OK });
    network.disconnect(n1, n2);
    expect(await settled(network, n1.call(), 5_000)).toMatchObject({ error: { details: { class: "not-sent" } } });
  });

  test("stays no-answer for what is in doubt, whatever refuses it later", async () => {
    const { network, n1, n2 } = openPair("idempotent", { n2: failing("E_TIMEOUT") });
    const pending = n1.call();
    await network.clock.settle();
    n2.answer = refusing("E_UNAVAILABLE");
    network.endpoints.length = 0;
    expect(await settled(network, pending, 6_000)).toMatchObject({
      error: { outcome: "unknown", details: { class: "no-answer" } },
    });
  });

  test("cannot be forged by the handler", async () => {
    expect(await classAfter("write", () => Promise.resolve({
      kind: "failed", error: { code: "E_HANDLER", message: "no", details: { class: "not-sent" } },
    }))).toBe("handler");
  });
});

describe("an endpoint that fails again and again", () => {
  test("is left alone once it has failed too often, and gets calls again when it answers a probe", async () => {
    const { network, n1, n2, n3 } = openPair("read", { n2: refusing("E_UNAVAILABLE"), n3: OK });
    n3.answer = async (call) => {
      await network.clock.sleep(50);
      return { kind: "ok", output: call.input };
    };
    const callTwenty = () => settled(network, Promise.all(Array.from({ length: 20 }, () => n1.call())), 200);
    expect((await callTwenty()).every(({ kind }) => kind === "ok")).toBe(true);
    const refused = n2.seen.length;
    expect(refused).toBeGreaterThanOrEqual(5);
    for (let round = 0; round < 3; round += 1) await callTwenty();
    expect(n2.seen.length).toBe(refused);
    // The probe is refused: it stays as it is for two seconds more.
    await network.clock.advance(500);
    await callTwenty();
    expect(n2.seen.length).toBe(refused + 1);
    n2.answer = OK;
    await callTwenty();
    expect(n2.seen.length).toBe(refused + 1);
    await network.clock.advance(2_000);
    await callTwenty();
    await callTwenty();
    expect(n2.seen.length).toBeGreaterThan(refused + 10);
  });

  test("is called all the same when there is no other (I4)", async () => {
    const { network, n1, n2 } = openPair("read", { n2: refusing("E_UNAVAILABLE") });
    for (let round = 0; round < 4; round += 1) await settled(network, n1.call(), 2_000);
    n2.answer = OK;
    expect(await settled(network, n1.call())).toMatchObject({ kind: "ok", attempts: 1 });
  });

  test("an impatient caller does not take it away from the others", async () => {
    const { network, n1, n2, n3 } = openPair("read", { n2: OK, n3: OK });
    const slow: Answer = async (call) => {
      await network.clock.sleep(100);
      return { kind: "ok", output: call.input };
    };
    n2.answer = slow;
    n3.answer = slow;
    for (let round = 0; round < 20; round += 1) await settled(network, n1.call(), 200);
    for (let round = 0; round < 40; round += 1) await settled(network, n1.call({ timeoutMs: 10 }), 200);
    const before = [n2.seen.length, n3.seen.length];
    for (let round = 0; round < 40; round += 1) await settled(network, n1.call(), 200);
    expect(n2.seen.length - (before[0] ?? 0)).toBeGreaterThan(5);
    expect(n3.seen.length - (before[1] ?? 0)).toBeGreaterThan(5);
  });
});

describe("a reply that cannot be sent", () => {
  const cycle: { self?: unknown } = {};
  cycle.self = cycle;
  let deep: unknown = 1;
  for (let level = 0; level < 500; level += 1) deep = [deep];
  const outputs: readonly (readonly [string, unknown])[] = [
    ["a cycle", cycle],
    ["too deep", deep],
    ["too large", "x".repeat(5_000_000)],
    ["a map", new Map([[1, 2]])],
  ];
  test.each(outputs)("is answered as the handler's failure, and the node goes on (I5): %s", async (_what, output) => {
    const { network, n1, n2 } = openPair("write", { n2: () => Promise.resolve({ kind: "ok", output }) });
    const reply = await settled(network, n1.call());
    expect(reply).toMatchObject({ error: { code: "E_HANDLER", outcome: "unknown", details: { class: "handler" } } });
    n2.answer = OK;
    expect(await settled(network, n1.call())).toMatchObject({ kind: "ok" });
    expect(network.refused).toEqual([]);
  });

  test("an error with details that cannot be sent is still an error", async () => {
    const error = { code: "E_HANDLER", message: "no", details: { cycle } } as const;
    const { network, n1 } = openPair("write", { n2: () => Promise.resolve({ kind: "failed", error }) });
    expect(await settled(network, n1.call())).toMatchObject({ error: { code: "E_HANDLER" }, attempts: 1 });
    const refusal = { ...error, code: "E_UNAVAILABLE" } as const;
    const other = openPair("write", { n2: () => Promise.resolve({ kind: "not-started", error: refusal }), n3: OK });
    for (let round = 0; round < 5; round += 1) {
      expect(await settled(other.network, other.n1.call())).toMatchObject({ kind: "ok" });
    }
  });

  test("an instance that throws instead of answering fails that call only", async () => {
    const { network, n1, n2 } = openPair("write", { n2: () => Promise.reject(new RangeError("bug")) });
    expect(await settled(network, n1.call())).toMatchObject({ error: { code: "E_INTERNAL", outcome: "unknown" } });
    n2.answer = OK;
    expect(await settled(network, n1.call())).toMatchObject({ kind: "ok" });
  });
});

describe("what a contract says of retries", () => {
  test("is kept, as far as this node allows", async () => {
    const attemptsWith = async (retry: { max?: number; backoffMs?: number }): Promise<CallReply> => {
      const network = new Network();
      const [n1, n2] = [network.add("n1", { retriesMax: 2 }), network.add("n2")];
      network.serve(n2, "read", failing("E_TIMEOUT"));
      network.endpoints.splice(0, 1, ...network.endpoints.map((found) => ({ ...found, policy: { retry } })));
      return settled(network, n1.call({ timeoutMs: 4_000 }), 4_000);
    };
    expect(await attemptsWith({ max: 0 })).toMatchObject({ error: { code: "E_TIMEOUT" }, attempts: 1 });
    expect(await attemptsWith({ max: 1 })).toMatchObject({ attempts: 2 });
    expect(await attemptsWith({ max: 9 })).toMatchObject({ attempts: 3 });
    expect(await attemptsWith({ max: 9, backoffMs: 9_999 })).toMatchObject({ attempts: 1 });
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

  test("inputs of a node's own calls are bounded together, and one is taken however large it is", async () => {
    const network = new Network();
    const n1 = network.add("n1", { callBytesMax: MiB });
    network.serve(n1, "write", (_call, signal) => new Promise((resolve) => {
      signal.addEventListener("abort", () => resolve({ kind: "ok", output: 1 }), { once: true });
    }));
    const leave = new AbortController();
    const large = n1.call({ input: "x".repeat(2 * MiB) }, leave.signal);
    expect(await n1.call({ input: "x" })).toMatchObject({
      error: { code: "E_OVERLOADED", outcome: "not-applied", details: { class: "overloaded" } }, attempts: 0,
    });
    leave.abort();
    await large;
    n1.answer = OK;
    expect(await n1.call({ input: "x" })).toMatchObject({ kind: "ok" });
  });

  test("what a peer sends that no handler may get is refused as not started", async () => {
    const { network, n1, n2 } = openPair("read", { n2: OK });
    let input: unknown = 1;
    for (let depth = 0; depth < 101; depth++) input = [input];
    n2.receive(n1.id, encodeCallMessage({
      kind: "request", id: 1, instance: "demo:shop:1.0.0/0", method: "run", timeoutMs: 100, input,
    }));
    expect(parseCallMessage(network.frames.at(-1) ?? new Uint8Array())).toMatchObject({
      kind: "reply", reply: { kind: "not-started", error: { code: "E_INVALID" } },
    });
    expect(n2.seen).toEqual([]);
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

  test("inputs of calls of all peers together are bounded, as long as their handlers run", async () => {
    const network = new Network();
    const [n1, n3] = [network.add("n1"), network.add("n3")];
    const n2 = network.add("n2", { peerCallBytesMax: MiB });
    network.serve(n2, "read", (_call, signal) => new Promise((resolve) => {
      signal?.addEventListener("abort", () => resolve({ kind: "ok", output: 1 }), { once: true });
    }));
    // One is taken however large it is.
    const large = n1.call({ input: "x".repeat(2 * MiB), timeoutMs: 2_000 });
    await network.clock.advance(10);
    const small = n3.call({ input: "x", timeoutMs: 1_000 });
    await network.clock.advance(1_000);
    expect(await small).toMatchObject({ error: { code: "E_OVERLOADED" } });
    await settled(network, large, 2_000);
    const after = n3.call({ input: "x", timeoutMs: 1_000 });
    await network.clock.advance(1_000);
    expect(await after).toMatchObject({ error: { code: "E_TIMEOUT" } });
  });

  test("an answer for which the queue to the caller has no room waits for it", async () => {
    const { network, n1 } = openPair("write", { n2: OK });
    network.full.add("n2 n1");
    const calls = [1, 2, 3].map((input) => n1.call({ input }));
    await network.clock.advance(5_000);
    network.full.clear();
    await network.clock.advance(5);
    expect(await Promise.all(calls)).toMatchObject([1, 2, 3].map((output) => ({ kind: "ok", output, attempts: 1 })));
  });

  test("answers that wait count with the inputs of peers, as long as somebody waits for them", async () => {
    const network = new Network();
    const [n1, n2, n3] = [network.add("n1"), network.add("n2", { peerCallBytesMax: MiB }), network.add("n3")];
    const large = "x".repeat(MiB / 2);
    network.serve(n2, "write", () => Promise.resolve({ kind: "ok", output: large }));
    network.full.add("n2 n1");
    const first = n1.call({ timeoutMs: 300 });
    const second = n1.call({ timeoutMs: 1_000 });
    await network.clock.advance(100);
    // The second answer has no room any more: its caller learns that it ran, in its turn.
    expect(await settled(network, n3.call({ input: large, timeoutMs: 50 }), 50)).toMatchObject({
      error: { code: "E_OVERLOADED", outcome: "not-applied" },
    });
    expect(await settled(network, first, 300)).toMatchObject({ error: { code: "E_TIMEOUT", outcome: "unknown" } });
    expect(await settled(network, n3.call({ input: large }))).toMatchObject({ kind: "ok" });
    network.full.clear();
    expect(await settled(network, second, 5)).toMatchObject({
      error: { code: "E_TIMEOUT", outcome: "unknown", message: expect.stringContaining("too much to send") },
    });
  });

  test("a call for which the queue to its callee has no room is told to come later", async () => {
    const { network, n1 } = openPair("write", { n2: OK });
    network.full.add("n1 n2");
    expect(await settled(network, n1.call(), 10_000)).toMatchObject({
      error: { code: "E_OVERLOADED", outcome: "not-applied", details: { class: "overloaded" } },
    });
  });

  test("a write with an idempotency key that was not answered is sent again, with its key (I1)", async () => {
    let calls = 0;
    const second: Answer = (call, signal) => {
      calls += 1;
      if (calls === 1) return failing("E_TIMEOUT")(call, signal);
      return Promise.resolve({ kind: "ok", output: 7, isReplayed: true });
    };
    const { network, n1, n2, n3 } = openPair("write", { n2: second, n3: second });
    const reply = await settled(network, n1.call({ idempotencyKey: "k" }));
    expect(reply).toEqual({ kind: "ok", output: 7, isReplayed: true, attempts: 2 });
    expect([...n2.seen, ...n3.seen].map(({ idempotencyKey }) => idempotencyKey)).toEqual(["k", "k"]);
  });

  test("what is known to stay unknown is not asked again", async () => {
    const lost: Answer = () => Promise.resolve({
      kind: "failed",
      error: { code: "E_TIMEOUT", message: "gone", outcome: "unknown", details: { isFinal: true } },
    });
    const { network, n1 } = openPair("write", { n2: lost, n3: lost });
    expect(await settled(network, n1.call({ idempotencyKey: "k" }))).toMatchObject({
      error: { code: "E_TIMEOUT", outcome: "unknown", details: { class: "no-answer" } }, attempts: 1,
    });
  });

  test("a key that can be none of the store is refused, wherever the instance runs", async () => {
    const { n1 } = openPair("read", { n2: OK });
    for (const idempotencyKey of ["", "k".repeat(257), "line\n", "\u{1F600}".repeat(60)]) {
      expect(await n1.call({ idempotencyKey })).toMatchObject({
        error: { code: "E_INVALID", outcome: "not-applied" }, attempts: 0,
      });
    }
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
