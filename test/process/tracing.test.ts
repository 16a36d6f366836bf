// Slow. Traces of real nodes that export over OTLP, as the guide says: what belongs together is one trace, across
// nodes, and across the death of a job's owner.
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { trace, SpanStatusCode } from "@opentelemetry/api";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { connect } from "../../src/client/connect.ts";
import { ask, eventually, type NodeFleet } from "../support/node-fleet.ts";
import { openWebServer, type WebServer } from "../support/web-server.ts";
import {
  applySlices, callOver, createLabelledFleet, pushSlice, untilServed, type HandmadeSlice,
} from "./support/call-slices.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const SDK = new URL("../../docs/examples/05-tracing/otel.js", import.meta.url);

const TARGET: HandmadeSlice = {
  artifact: "demo:target:1.0.0",
  methods: {
    where: { effect: "read", handler: "() => process.pid" },
    fail: { effect: "write", handler: '() => { throw new RangeError("card of ann"); }' },
  },
};

const RELAY: HandmadeSlice = {
  artifact: "demo:relay:1.0.0",
  uses: { target: { slice: "target", artifact: "demo:target@^1.0.0", methods: { where: "read", fail: "write" } } },
  methods: {
    where: { effect: "read", handler: "(input, ctx) => ctx.uses.target.where({})" },
    fail: { effect: "write", handler: "(input, ctx) => ctx.uses.target.fail({ secret: \"order of bob\" })" },
  },
};

const attributeSchema = z.object({
  key: z.string(),
  value: z.object({ stringValue: z.string().optional(), intValue: z.coerce.number().optional() }).loose(),
});
const spanSchema = z.object({
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().optional(),
  name: z.string(),
  attributes: z.array(attributeSchema),
  status: z.object({ code: z.number().optional() }).loose(),
});
const exportSchema = z.object({
  resourceSpans: z.array(z.object({ scopeSpans: z.array(z.object({ spans: z.array(spanSchema) })) })),
});

interface SeenSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parent: string | undefined;
  readonly name: string;
  readonly isError: boolean;
  readonly attributes: Readonly<Record<string, string | number | undefined>>;
}

/** What the nodes have exported, and what they said to export it. */
class Collector {
  readonly spans: SeenSpan[] = [];
  readonly texts: string[] = [];
  private server: WebServer | undefined;

  async open(): Promise<string> {
    this.server = await openWebServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on("data", (piece: Buffer) => pieces.push(piece));
      request.on("end", () => {
        this.take(Buffer.concat(pieces).toString("utf8"));
        response.writeHead(200, { "content-type": "application/json" }).end("{}");
      });
    });
    return this.server.url;
  }

  close(): void {
    this.server?.close();
  }

  /** The spans of a trace, as soon as one of each of these names is there. */
  trace(traceId: string, ...names: readonly string[]): Promise<readonly SeenSpan[]> {
    return eventually(`${names.join(", ")} of ${traceId}`, () => {
      const found = this.spans.filter((span) => span.traceId === traceId);
      return names.every((name) => found.some((span) => span.name === name)) ? found : undefined;
    });
  }

  private take(text: string): void {
    this.texts.push(text);
    for (const { scopeSpans } of exportSchema.parse(JSON.parse(text)).resourceSpans) {
      for (const span of scopeSpans.flatMap(({ spans }) => spans)) {
        const { traceId, spanId, parentSpanId: parent, name, status } = span;
        const attributes = Object.fromEntries(span.attributes.map(({ key, value }) =>
          [key, value.stringValue ?? value.intValue]));
        this.spans.push({ traceId, spanId, parent, name, attributes, isError: status.code === SpanStatusCode.ERROR });
      }
    }
  }
}

const collector = new Collector();
const ownSpans = new InMemorySpanExporter();
const ownProvider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(ownSpans)] });
let fleet: NodeFleet;

beforeAll(async () => {
  ownProvider.register();
  const url = await collector.open();
  const launch = {
    nodeOptions: ["--import", fileURLToPath(SDK)],
    variables: { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_BSP_SCHEDULE_DELAY: "100" },
  };
  fleet = await createLabelledFleet({ launchOf: () => launch });
  await pushSlice(fleet, TARGET);
  await pushSlice(fleet, RELAY);
  await applySlices(fleet, {
    target: { artifact: "demo:target@^1.0.0", labels: { name: "n2" } },
    relay: { artifact: "demo:relay@^1.0.0", labels: { name: "n1" } },
  });
  await untilServed(fleet, "relay/where");
  await applyAgents(fleet, "agents");
});

afterAll(async () => {
  await fleet.close();
  collector.close();
  trace.disable();
  await ownProvider.shutdown();
});

function named(spans: readonly SeenSpan[], name: string): SeenSpan {
  const [found] = spans.filter((span) => span.name === name);
  if (found === undefined) throw new Error(`no span ${name} among ${spans.map((span) => span.name).join(", ")}`);
  return found;
}

/** From the innermost to the outermost that the nodes have exported. */
function pathTo(spans: readonly SeenSpan[], name: string): readonly string[] {
  const path: string[] = [];
  for (let at: SeenSpan | undefined = named(spans, name); at !== undefined;) {
    path.push(`${at.name} on ${at.attributes["aether.node"] ?? "?"}`);
    const parent: string | undefined = at.parent;
    at = spans.find(({ spanId }) => spanId === parent);
  }
  return path;
}

/** A `traceparent` of somebody who records. */
function newParent(): { readonly traceId: string; readonly spanId: string; readonly traceparent: string } {
  const [traceId, spanId] = [randomBytes(16).toString("hex"), randomBytes(8).toString("hex")];
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-01` };
}

describe("calls", () => {
  test("what a client calls is one trace, through the node it asked to the method on another node", async () => {
    const client = connect({ nodes: [fleet.api("n3")] });
    const { traceId, spanId: rootId } = await trace.getTracer("test").startActiveSpan("checkout", async (span) => {
      await client.call({ slice: "relay", method: "where", effect: "read" });
      span.end();
      return span.spanContext();
    });
    client.close();
    const names = ["target.where", "call target.where", "relay.where", "call relay.where"];
    const spans = await collector.trace(traceId, ...names);
    expect(pathTo(spans, "target.where")).toEqual([
      "target.where on n2", "call target.where on n1", "relay.where on n1", "call relay.where on n3",
    ]);
    const own = ownSpans.getFinishedSpans().find((span) => span.name === "call relay.where");
    expect(own?.parentSpanContext?.spanId).toBe(rootId);
    expect(named(spans, "call relay.where").parent).toBe(own?.spanContext().spanId);
  });

  test("over HTTP it begins with the request, within what the caller says it belongs to", async () => {
    const { traceId, spanId, traceparent } = newParent();
    await ask(`${fleet.api("n2")}/v1/call/target/where`, { method: "POST", body: {}, headers: { traceparent } });
    const spans = await collector.trace(traceId, "target.where", "POST /v1/call/:slice/:method");
    expect(pathTo(spans, "target.where")).toEqual([
      "target.where on n2", "call target.where on n2", "POST /v1/call/:slice/:method on n2",
    ]);
    expect(named(spans, "POST /v1/call/:slice/:method").parent).toBe(spanId);
  });

  test("a failure is told by its code, and nothing of what was sent or said is in any span", async () => {
    const { traceId, traceparent } = newParent();
    const headers = { traceparent };
    const answer = await ask(`${fleet.api("n3")}/v1/call/relay/fail`, { method: "POST", body: {}, headers });
    expect(answer.status).toBe(502);
    const spans = await collector.trace(traceId, "target.fail", "call relay.fail");
    expect(spans.every(({ isError }) => isError)).toBe(true);
    expect(named(spans, "target.fail").attributes).toMatchObject({
      "error.type": "E_HANDLER", "rpc.service": "target", "rpc.method": "fail", "aether.outcome": "failed",
    });
    expect(collector.texts.filter((text) => /of ann|of bob|RangeError/.test(text))).toEqual([]);
  });

  test("what the caller does not record is not recorded", async () => {
    const { traceId, traceparent } = newParent();
    const headers = { traceparent: traceparent.replace(/01$/, "00") };
    await ask(`${fleet.api("n3")}/v1/call/target/where`, { method: "POST", body: {}, headers });
    const after = newParent();
    await ask(`${fleet.api("n3")}/v1/call/target/where`, {
      method: "POST", body: {}, headers: { traceparent: after.traceparent },
    });
    await collector.trace(after.traceId, "target.where", "call target.where");
    expect(collector.spans.filter((span) => span.traceId === traceId)).toEqual([]);
  });

  test("probes are in no trace", async () => {
    await ask(`${fleet.api("n1")}/readyz`);
    await callOver(fleet, "n1", "target/where");
    expect(collector.spans.filter(({ name }) => /readyz|livez|metrics/.test(name))).toEqual([]);
  });
});

describe("jobs", () => {
  const shownSchema = z.object({ owner: z.string() });

  test("a job is one trace: its start, runs, steps, and attempts at tools, also after a take-over", async () => {
    const held: string[] = [];
    const outside = await openWebServer((request, response) => {
      const [, what = "", effect = ""] = request.url?.split("/") ?? [];
      // The first request is held, without having done anything.
      if (what === "pay" && !held.includes(effect)) return void held.push(effect);
      response.writeHead(what === "paid" ? 404 : 200).end("yes");
    });
    const { traceId, traceparent } = newParent();
    const { job } = await startJob(fleet, "n3", { agent: "paying", input: { url: outside.url } }, { traceparent });
    await eventually("the tool was called", () => held[0]);
    const owner = shownSchema.parse((await ask(`${fleet.api("n3")}/v1/jobs/${job}`)).body).owner;
    const asked = fleet.names.find((name) => name !== owner) ?? "";
    // In an export of its own: what is under way dies with its process.
    await collector.trace(traceId, "step before");
    await fleet.kill(owner);
    expect(await resultOf(fleet, asked, job)).toMatchObject({ kind: "completed" });
    const spans = await collector.trace(traceId, "job paying", "tool pay", "step after", "start paying");
    outside.close();
    const tool = named(spans, "tool pay");
    expect(tool.attributes).toMatchObject({
      "aether.job": job, "aether.agent": "paying", "aether.tool": "pay", "aether.call": "pay#1",
      "aether.effect": held[0], "aether.attempt": 2, "aether.outcome": "succeeded",
    });
    expect(tool.attributes["aether.node"]).not.toBe(owner);
    expect(pathTo(spans, "tool pay").map((step) => step.replace(/ on .*/, ""))).toEqual([
      "tool pay", "job paying", "start paying", "POST /v1/jobs",
    ]);
    expect(named(spans, "step before").attributes).toMatchObject({ "aether.node": owner, "aether.step": "before#1" });
    await fleet.start(owner);
  });

  test("a job that a handler starts is part of its call, one that is done again of the request for that", async () => {
    await applyAgents(fleet, "families", { instances: 1 });
    const outside = await openWebServer((_request, response) => response.end("yes"));
    const { url } = outside;
    await untilServed(fleet, "families/hire", { url });
    const call = newParent();
    const headers = { traceparent: call.traceparent };
    await ask(`${fleet.api("n2")}/v1/call/families/hire`, { method: "POST", body: { url }, headers });
    const called = await collector.trace(call.traceId, "job worker", "tool count", "start worker", "families.hire");
    expect(pathTo(called, "tool count").map((step) => step.replace(/ on .*/, ""))).toEqual([
      "tool count", "job worker", "start worker", "families.hire", "call families.hire",
      "POST /v1/call/:slice/:method",
    ]);
    const { job } = await startJob(fleet, "n1", { agent: "worker", input: { url, fails: true } });
    expect(await resultOf(fleet, "n1", job)).toMatchObject({ kind: "failed" });
    for (const [what, body] of [["retry", {}], ["bulk", { action: { kind: "retry" }, agent: "worker" }]] as const) {
      const { traceId, traceparent } = newParent();
      const path = what === "bulk" ? "/v1/jobs/bulk" : `/v1/jobs/${job}/retry`;
      await ask(`${fleet.api("n3")}${path}`, { method: "POST", body, headers: { traceparent } });
      const spans = await collector.trace(traceId, "job worker", "retry worker");
      expect(pathTo(spans, "job worker").map((step) => step.replace(/ on .*/, ""))).toEqual([
        "job worker", "retry worker", `POST ${path.replace(job, ":job")}`,
      ]);
      const { "aether.of": of, "aether.job": made } = named(spans, "retry worker").attributes;
      if (what === "retry") expect(of).toBe(job);
      // The next one does this one again.
      expect(await resultOf(fleet, "n2", String(made))).toMatchObject({ kind: "failed" });
    }
    outside.close();
  });
});
