// Owns: seeing what can be seen of this machine without a node: whether one with this configuration could run here.
import { createServer } from "node:net";
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { once } from "node:events";
import { z } from "zod";
import { toAetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";
import { HttpApi } from "../http-api.ts";
import { couldNot, type Finding, machineFindings } from "./findings.ts";

const HERE = "this machine";
const PORT_TIMEOUT_MS = 2_000;

const selfSchema = z.object({ cluster: z.string(), node: z.string() });

export interface Here {
  readonly dataDir?: string;
  readonly config?: string;
}

export async function lookHere(io: CliIo, { dataDir, config }: Here): Promise<readonly Finding[]> {
  if (config === undefined) return dataDir === undefined ? [] : await lookAtMachine(resolve(io.cwd, dataDir));
  const { loadNodeConfig } = await import("../../node/config.ts");
  let loaded: ReturnType<typeof loadNodeConfig>;
  try {
    loaded = loadNodeConfig({ file: resolve(io.cwd, config), variables: io.env });
  } catch (error) {
    const advice = "correct the configuration; docs/reference/config.md has every field";
    return [{ check: "config", of: HERE, level: "problem", what: toAetherError(error).message, advice },
      ...["disk-time", "disk-space", "descriptors", "ports"].map((check) =>
        couldNot(check, HERE, "the configuration cannot be read"))];
  }
  const { listen, api, node } = loaded;
  const answering = await nodeAt(io, api);
  const found: Finding = { check: "config", of: HERE, level: "ok", what: `node ${node} of cluster ${loaded.cluster}` };
  const isOwn = answering?.node === node && answering.cluster === loaded.cluster;
  return [
    found,
    ...(await lookAtMachine(resolve(io.cwd, dataDir ?? loaded.dataDir))),
    ...(await Promise.all([listen, api].map((url) => portFinding(url, isOwn)))),
  ];
}

async function lookAtMachine(dataDir: string): Promise<readonly Finding[]> {
  const { readMachineFacts } = await import("../../node/machine-facts-adapter.ts");
  return machineFindings(HERE, await readMachineFacts(nearestThere(dataDir)));
}

/** A node that has never started has no directory yet: what matters is the disk that it will be on. */
function nearestThere(directory: string): string {
  const above = dirname(directory);
  return existsSync(directory) || above === directory ? directory : nearestThere(above);
}

async function nodeAt(io: CliIo, api: string): Promise<z.output<typeof selfSchema> | undefined> {
  try {
    return await new HttpApi(io, api).get(selfSchema, "/v1/cluster", { timeoutMs: PORT_TIMEOUT_MS });
  } catch {
    // ignored: that nobody answers is what is to be found out
    return undefined;
  }
}

async function portFinding(url: string, isOwn: boolean): Promise<Finding> {
  const { hostname, port } = new URL(url);
  if (isOwn) return { check: "ports", of: HERE, level: "ok", what: `the node itself listens on ${url}` };
  const server = createServer();
  try {
    server.listen({ host: hostname.replace(/^\[|\]$/g, ""), port: Number(port) });
    await once(server, "listening");
    return { check: "ports", of: HERE, level: "ok", what: `${url} is free` };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    const advice = "stop what listens there, or give the node another port";
    if (code === "EADDRINUSE") {
      return { check: "ports", of: HERE, level: "problem", what: `another process listens on ${url}`, advice };
    }
    return { check: "ports", of: HERE, level: "problem", what: `cannot listen on ${url}: ${String(code)}`, advice };
  } finally {
    server.close();
  }
}
