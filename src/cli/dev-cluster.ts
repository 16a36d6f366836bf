// Owns: the files of a development cluster: one configuration per node, and whether they fit what is there.
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { AetherError } from "../base/errors.ts";

export interface DevCluster {
  readonly directory: string;
  readonly nodeCount: number;
  readonly peerPort: number;
  readonly apiPort: number;
}

export interface DevNode {
  readonly name: string;
  readonly api: string;
  readonly configFile: string;
}

/** In the data directory: shows that it is ours, and with what settings it was made. */
const MARKER = "cluster.yaml";
const ANSWER_MS = 1_000;

const configSchema = z.object({ api: z.string() });

/**
 * Writes the configurations. Data of an earlier run is kept, or deleted first when `fresh`.
 * @throws AetherError E_CONFIG when what is there was made with other settings.
 */
export async function writeDevCluster(cluster: DevCluster, data: "keep" | "fresh"): Promise<readonly DevNode[]> {
  const { directory } = cluster;
  if (Math.abs(cluster.peerPort - cluster.apiPort) < cluster.nodeCount) {
    throw new AetherError("E_CONFIG", `the ${cluster.nodeCount} ports from ${cluster.peerPort} and those from ` +
      `${cluster.apiPort} overlap: leave ${cluster.nodeCount} between --peer-port and --api-port`);
  }
  const nodes = devNodes(cluster);
  const files = nodes.map((node, index) => ({ node, text: stringify(nodeConfig(cluster, node, index)) }));
  if (data === "fresh") await deleteData(directory);
  await mkdir(join(directory, "data"), { recursive: true });
  const marker = join(directory, "data", MARKER);
  const settings = stringify({ nodes: cluster.nodeCount, peerPort: cluster.peerPort });
  const before = await readOrNone(marker);
  if (before !== undefined && before !== settings) {
    throw new AetherError(
      "E_CONFIG",
      `${directory} holds a cluster made with other settings (${before.trim().replaceAll("\n", ", ")}): ` +
        "use the same ones, another --dir, or --fresh to delete its data",
    );
  }
  await writeFile(marker, settings);
  for (const { node, text } of files) await writeFile(node.configFile, text);
  return nodes;
}

/** @throws AetherError E_CONFIG for data that is not ours, or in use. */
async function deleteData(directory: string): Promise<void> {
  const data = join(directory, "data");
  const files = await filesIn(data);
  if (files.length > 0 && !files.includes(MARKER)) {
    throw new AetherError("E_CONFIG", `${data} has no ${MARKER}, so it was not made by this command and is not ` +
      "deleted: use another --dir, or move it away");
  }
  const configs = (await filesIn(directory)).filter((file) => /^n\d+\.yaml$/.test(file));
  for (const file of configs) {
    const text = await readOrNone(join(directory, file));
    const api = configSchema.safeParse(parse(text ?? "")).data?.api;
    if (api === undefined || !(await isAnswering(api))) continue;
    const found = `${directory} is in use: a node answers at ${api}`;
    throw new AetherError("E_CONFIG", `${found}. Stop it, or use another --dir`);
  }
  await rm(data, { recursive: true, force: true });
}

async function isAnswering(api: string): Promise<boolean> {
  try {
    await fetch(`${api}/livez`, { signal: AbortSignal.timeout(ANSWER_MS) });
    return true;
  } catch (error) {
    // Who takes the connection and does not answer is there as well.
    return error instanceof Error && error.name === "TimeoutError";
  }
}

async function filesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch {
    // ignored: what is not there has no files
    return [];
  }
}

function devNodes({ directory, nodeCount, apiPort }: DevCluster): readonly DevNode[] {
  return Array.from({ length: nodeCount }, (_, index) => {
    const name = nodeName(index);
    return { name, api: `http://127.0.0.1:${apiPort + index}`, configFile: join(directory, `${name}.yaml`) };
  });
}

function nodeConfig({ directory, nodeCount, peerPort }: DevCluster, node: DevNode, index: number): unknown {
  const peerUrl = (at: number): string => `ws://127.0.0.1:${peerPort + at}`;
  return {
    cluster: "dev",
    node: node.name,
    listen: peerUrl(index),
    api: node.api,
    voters: Object.fromEntries(Array.from({ length: nodeCount }, (_, at) => [nodeName(at), peerUrl(at)])),
    dataDir: join(directory, "data", node.name),
    apiKill: "allowed",
  };
}

function nodeName(index: number): string {
  return `n${index + 1}`;
}

async function readOrNone(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch {
    // ignored: a file that is not there is the first run
    return undefined;
  }
}
