// The files of deploy/ say what a real node understands: its variables, paths, metrics and times. No engine runs here.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";
import { alertRule } from "../../../src/alerts/core/alert-rules.ts";
import { MINUTE_MS, SECOND_MS } from "../../../src/base/units.ts";
import { loadNodeConfig, NodeConfigSchema, type NodeConfig } from "../../../src/node/config.ts";
import { startNode } from "../../../src/node/node.ts";
import { createRealEnv } from "../../../src/node/real-env.ts";
import { nodeStopMs } from "../../../src/node/time-limits.ts";
import { soleNodeConfig } from "../../support/sole-node.ts";
import { parseNodeId } from "../../../src/base/ids.ts";

const read = (path: string): Promise<string> => readFile(new URL(`../../../${path}`, import.meta.url), "utf8");

const variablesSchema = z.record(z.string(), z.string());
/** Of the node; others are Node.js', the allocator's, or another program's. */
const NODE_VARIABLE = /^AETHER_/;

const composeSchema = z.object({
  services: z.record(z.string(), z.object({
    network_mode: z.string().optional(),
    environment: variablesSchema.optional(),
    stop_grace_period: z.string().optional(),
    ports: z.array(z.string()).optional(),
    volumes: z.array(z.string()).optional(),
  }).loose()),
  volumes: z.record(z.string(), z.unknown()),
});

const probeSchema = z.object({ exec: z.object({ command: z.array(z.string()) }) });
const containerSchema = z.object({
  name: z.string(),
  env: z.array(z.object({ name: z.string(), value: z.string() })),
  startupProbe: probeSchema,
  livenessProbe: probeSchema,
  readinessProbe: probeSchema,
  volumeMounts: z.array(z.object({ name: z.string(), mountPath: z.string() })),
});
const metadata = z.object({ name: z.string(), labels: variablesSchema });
const labelled = z.object({ matchLabels: variablesSchema });
const serviceSchema = z.object({
  kind: z.literal("Service"), metadata,
  spec: z.object({ clusterIP: z.literal("None"), selector: variablesSchema }),
});
const budgetSchema = z.object({
  kind: z.literal("PodDisruptionBudget"), metadata,
  spec: z.object({ maxUnavailable: z.number(), selector: labelled }),
});
const setSchema = z.object({
  kind: z.literal("StatefulSet"), metadata,
  spec: z.object({
    serviceName: z.string(),
    replicas: z.literal(1),
    selector: labelled,
    template: z.object({
      metadata: z.object({ labels: variablesSchema }),
      spec: z.object({
        terminationGracePeriodSeconds: z.number(),
        securityContext: z.object({ runAsNonRoot: z.literal(true) }).loose(),
        containers: z.array(containerSchema),
        volumes: z.array(z.object({ name: z.string() }).loose()),
      }),
    }),
    volumeClaimTemplates: z.array(z.object({ metadata: z.object({ name: z.string() }) }).loose()),
  }),
});

async function compose(): Promise<z.output<typeof composeSchema>> {
  return composeSchema.parse(parse(await read("docker-compose.cluster.yml"), { merge: true }));
}

async function kubernetes(): Promise<readonly [
  z.output<typeof serviceSchema>, z.output<typeof budgetSchema>, z.output<typeof setSchema>,
]> {
  const documents = parseAllDocuments(await read("deploy/kubernetes/aether.yaml"));
  expect(documents.flatMap(({ errors }) => errors)).toEqual([]);
  return z.tuple([serviceSchema, budgetSchema, setSchema]).parse(documents.map((document): unknown => document.toJS()));
}

/** As the container has it, what its image sets included. */
function configOf(variables: Readonly<Record<string, string>>): NodeConfig {
  const known = new Set(Object.keys(NodeConfigSchema.shape).map((name) =>
    `AETHER_${name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`));
  for (const name of Object.keys(variables)) if (NODE_VARIABLE.test(name)) expect([...known]).toContain(name);
  return loadNodeConfig({ variables: { AETHER_DATA_DIR: "/data", ...variables } });
}

/** Each node of one cluster, where nodes share a machine or its network. */
function expectOneCluster(configs: readonly NodeConfig[]): void {
  expect(new Set(configs.map(({ cluster }) => cluster)).size).toBe(1);
  expect(new Set(configs.map(({ voters }) => JSON.stringify(voters))).size).toBe(1);
  const [first] = configs;
  expect(configs.map(({ node }) => node).sort()).toEqual(Object.keys(first?.voters ?? {}).sort());
  for (const { node, voters, listen } of configs) expect(voters[node]).toBe(listen);
  const ports = configs.flatMap(({ listen, api }) => [listen, api].map((url) => new URL(url).port));
  expect(new Set(ports).size).toBe(ports.length);
}

async function metricNames(): Promise<ReadonlySet<string>> {
  const dataDir = await mkdtemp(join(tmpdir(), "aether-deploy-"));
  const env = createRealEnv({ node: parseNodeId("n1"), dataDir, durability: "memory", logLevel: "silent" });
  const node = await startNode(soleNodeConfig(dataDir), env);
  onTestFinished(async () => {
    await node.stop();
    await rm(dataDir, { recursive: true, force: true });
  });
  const text = await (await fetch(`${node.apiUrl}/metrics`)).text();
  const declared = [...text.matchAll(/^# TYPE (\S+) (\S+)/gm)];
  return new Set(declared.flatMap(([, name = "", kind]) =>
    kind === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]));
}

function metricsIn(text: string): readonly string[] {
  return [...text.matchAll(/\baether_[a-z0-9_]+/g)].map(([name]) => name);
}

describe("docker", () => {
  test("the image runs a node as nobody special, whose health is asked where a node answers it", async () => {
    const text = await read("Dockerfile");
    const lines = text.split("\n");
    expect(lines.filter((line) => line.startsWith("FROM "))).toHaveLength(2);
    expect(text.lastIndexOf("\nUSER node")).toBeGreaterThan(text.lastIndexOf("\nFROM "));
    expect(text).toMatch(/HEALTHCHECK .*probe\.mjs", "\/livez"\]/);
    const copied = [...text.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = ""]) => names.split(" "));
    const kept = (await read(".dockerignore")).split("\n").filter((line) => line.startsWith("!"));
    for (const name of copied) expect(kept).toContain(`!${name}`);
    const packageSchema = z.object({
      engines: z.object({ node: z.string() }), scripts: z.record(z.string(), z.string()),
    });
    const { engines, scripts } = packageSchema.parse(JSON.parse(await read("package.json")));
    const built = Object.entries(scripts).filter(([name]) => /^build\b/.test(name)).map(([, script]) => script).join(" ");
    for (const [name] of built.matchAll(/\b[\w.]+\.(?:js|json)\b/g)) expect(copied).toContain(name);
    expect(text).toContain(`FROM node:${engines.node.replace(">=", "")}-`);
  });

  test("the composed nodes are one cluster, and are given the time that an orderly stop takes", async () => {
    const { services, volumes } = await compose();
    const nodes = Object.entries(services).filter(([name]) => /^n\d$/.test(name)).map(([, service]) => service);
    const configs = nodes.map(({ environment = {} }) => configOf(environment));
    expect(configs).toHaveLength(3);
    expectOneCluster(configs);
    for (const [index, node] of nodes.entries()) {
      const config = configs[index];
      const graceMs = Number(node.stop_grace_period?.replace("s", "")) * SECOND_MS;
      expect(config && nodeStopMs(config)).toBeLessThan(graceMs);
      expect(node.network_mode).toBe("service:network");
      const [volume = "", path] = node.volumes?.[0]?.split(":") ?? [];
      expect([Object.keys(volumes).includes(volume), path]).toEqual([true, "/data"]);
    }
    const published = Object.values(services).flatMap(({ ports = [] }) => ports);
    for (const port of published) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test("Prometheus asks the nodes that are composed", async () => {
    const { services } = await compose();
    const scraped = z.object({
      rule_files: z.array(z.string()),
      scrape_configs: z.array(z.object({ static_configs: z.array(z.object({ targets: z.array(z.string()) })) })),
    }).parse(parse(await read("deploy/prometheus/prometheus.yml")));
    const targets = scraped.scrape_configs.flatMap((config) => config.static_configs.flatMap((one) => one.targets));
    const apis = Object.values(services).flatMap(({ environment }) => environment?.["AETHER_API"] ?? []);
    expect(targets).toEqual(apis.map((url) => new URL(url).host));
    expect(scraped.rule_files).toEqual(["alerts.yml"]);
  });
});

describe("Kubernetes", () => {
  test("the nodes of the pod are one cluster, each with a disk of its own, probed where they answer", async () => {
    const [service, budget, set] = await kubernetes();
    const { containers, terminationGracePeriodSeconds, volumes } = set.spec.template.spec;
    const configs = containers.map(({ env }) =>
      configOf(Object.fromEntries(env.map(({ name, value }) => [name, value]))));
    expect(configs).toHaveLength(3);
    expectOneCluster(configs);
    for (const config of configs) expect(nodeStopMs(config)).toBeLessThan(terminationGracePeriodSeconds * SECOND_MS);
    const diskOf = ({ volumeMounts }: (typeof containers)[number]): string | undefined =>
      volumeMounts.find(({ mountPath }) => mountPath === "/data")?.name;
    const disks = containers.map(diskOf);
    expect(disks).toEqual(set.spec.volumeClaimTemplates.map(({ metadata: { name } }) => name));
    const others = containers.flatMap(({ volumeMounts }) => volumeMounts.map(({ name }) => name));
    const known = [...disks, ...volumes.map(({ name }) => name)];
    expect(others.filter((name) => !known.includes(name))).toEqual([]);
    for (const { startupProbe, livenessProbe, readinessProbe } of containers) {
      expect([startupProbe, livenessProbe, readinessProbe].map(({ exec }) => exec.command.at(-1)))
        .toEqual(["/livez", "/livez", "/readyz"]);
    }
    expect(set.spec.serviceName).toBe(service.metadata.name);
    const { labels } = set.spec.template.metadata;
    expect([service.spec.selector, budget.spec.selector.matchLabels, set.spec.selector.matchLabels])
      .toEqual([labels, labels, labels]);
    expect(budget.spec.maxUnavailable).toBe(0);
  });
});

describe("what is watched", () => {
  test("every metric of alerts and of the dashboard is one that a real node has", async () => {
    const names = await metricNames();
    const alerts = metricsIn(await read("deploy/prometheus/alerts.yml"));
    const dashboard = metricsIn(await read("deploy/grafana/dashboards/aether.json"));
    expect([alerts.length, dashboard.length].every((count) => count > 8)).toBe(true);
    expect([...alerts, ...dashboard].filter((name) => !names.has(name))).toEqual([]);
  });

  test("every alert says how bad it is, what is the matter, and what to do", async () => {
    const rule = z.strictObject({
      alert: z.string().regex(/^Aether/), expr: z.string(), for: z.string().regex(/^\d+[sm]$/),
      labels: z.strictObject({ severity: z.enum(["critical", "warning"]) }),
      annotations: z.strictObject({ summary: z.string(), action: z.string() }),
    });
    const file = z.strictObject({ groups: z.array(z.strictObject({ name: z.string(), rules: z.array(rule) })) });
    const { groups } = file.parse(parse(await read("deploy/prometheus/alerts.yml")));
    const alerts = groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));
    expect(new Set(alerts).size).toBe(alerts.length);
  });

  test("what Prometheus and the cluster itself both judge has one threshold, and fires here no sooner", async () => {
    const rule = z.object({ alert: z.string(), expr: z.string(), for: z.string() });
    const { groups: [{ rules }] } = z.object({ groups: z.tuple([z.object({ rules: z.array(rule) })]) })
      .parse(parse(await read("deploy/prometheus/alerts.yml")));
    const both = {
      AetherNoQuorum: { name: "no-quorum", threshold: "< aether_quorum_needed" },
      AetherNodeDown: { name: "node-missing", threshold: "== 0" },
      AetherStoreNearlyFull: { name: "store-full", threshold: `> ${alertRule("store-full").threshold} *` },
      AetherDiskSlow: { name: "disk-slow", threshold: `> ${alertRule("disk-slow").threshold / SECOND_MS}` },
      AetherBehind: { name: "node-behind", threshold: `> ${alertRule("node-behind").threshold}` },
      AetherCallsFail: { name: "calls-fail", threshold: `> ${alertRule("calls-fail").threshold} *` },
    } as const;
    for (const [alert, { name, threshold }] of Object.entries(both)) {
      const { expr = "", for: time = "" } = rules.find((one) => one.alert === alert) ?? {};
      expect(`${expr} `, alert).toContain(`${threshold} `);
      const forMs = Number.parseInt(time, 10) * (time.endsWith("m") ? MINUTE_MS : SECOND_MS);
      expect(forMs, alert).toBeGreaterThanOrEqual(alertRule(name).forMs);
    }
  });

  test("the dashboard's panels do not overlap, and ask the source that is provisioned", async () => {
    const place = z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() });
    const panel = z.object({
      id: z.number(), title: z.string(), gridPos: place, datasource: z.object({ uid: z.string() }),
      targets: z.array(z.object({ expr: z.string(), refId: z.string() })).min(1),
    });
    const { panels } = z.object({ panels: z.array(panel) })
      .parse(JSON.parse(await read("deploy/grafana/dashboards/aether.json")));
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`));
    expect(new Set(cells).size).toBe(cells.length);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const sourcesSchema = z.object({ datasources: z.tuple([z.object({ uid: z.string(), url: z.string() })]) });
    const { datasources: [source] } = sourcesSchema
      .parse(parse(await read("deploy/grafana/provisioning/datasources/prometheus.yml")));
    expect(new Set(panels.map(({ datasource }) => datasource.uid))).toEqual(new Set([source.uid]));
    const prometheus = (await compose()).services["prometheus"] ?? {};
    expect(JSON.stringify(prometheus)).toContain(`--web.listen-address=${new URL(source.url).host}`);
  });
});
