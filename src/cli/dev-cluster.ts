// Owns: the files of a development cluster: one configuration per node, and whether they fit what is there.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
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

/**
 * Writes the configurations. Data of an earlier run is kept, or deleted first when `fresh`.
 * @throws AetherError E_CONFIG when what is there was made with other settings.
 */
export async function writeDevCluster(cluster: DevCluster, data: "keep" | "fresh"): Promise<readonly DevNode[]> {
  const { directory } = cluster;
  const nodes = devNodes(cluster);
  const files = nodes.map((node, index) => ({ node, text: stringify(nodeConfig(cluster, node, index)) }));
  if (data === "fresh") await rm(join(directory, "data"), { recursive: true, force: true });
  await mkdir(join(directory, "data"), { recursive: true });
  const marker = join(directory, "data", "cluster.yaml");
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
