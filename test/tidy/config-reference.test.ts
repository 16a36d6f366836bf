import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { loadNodeConfig, type NodeConfig, parseNodeConfig, voterOrder } from "../../src/node/config.ts";
import { listConfigFields, renderConfigReference } from "./reference/config-reference.ts";

const MINIMAL = {
  cluster: "demo", node: "n1", listen: "ws://127.0.0.1:7101", dataDir: "./data/n1",
  voters: { n1: "ws://127.0.0.1:7101" },
};
const NUMBERS = listConfigFields().filter(({ schema }) => schema.type === "integer");

function valueAt(config: NodeConfig, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, part) => (value as Readonly<Record<string, unknown>>)[part], config);
}

test("the page of the configuration describes every value", () => {
  expect(listConfigFields().filter(({ schema }) => schema.description === undefined)).toEqual([]);
  expect(renderConfigReference()).toContain("| `dataDir` | required |");
});

test.each(NUMBERS)("the variable $variable sets what the page says", ({ path, variable, schema }) => {
  const wanted = (schema.default as number) - 1;
  const config = loadNodeConfig({ overrides: MINIMAL, variables: { [variable]: String(wanted) } });
  expect(valueAt(config, path)).toBe(wanted);
});

test.each(NUMBERS)("the defaults and the range of $variable are those of a node", ({ path, schema }) => {
  expect(valueAt(parseNodeConfig(MINIMAL), path)).toBe(schema.default);
  const tooMuch = (schema.maximum ?? 0) + 1;
  const input = path.length === 1 ? { [path[0] ?? ""]: tooMuch } : { [path[0] ?? ""]: { [path[1] ?? ""]: tooMuch } };
  expect(() => parseNodeConfig({ ...MINIMAL, ...input })).toThrow(path.join("."));
});

test("the three example configurations form one cluster", () => {
  const configs = ["n1", "n2", "n3"].map((node) => {
    const file = fileURLToPath(new URL(`../../docs/examples/04-three-nodes/${node}.yaml`, import.meta.url));
    return loadNodeConfig({ file, variables: {} });
  });
  expect(configs.map(({ node }) => node)).toEqual(["n1", "n2", "n3"]);
  for (const { cluster, voters } of configs) {
    expect({ cluster, voters }).toEqual({ cluster: configs[0]?.cluster, voters: configs[0]?.voters });
  }
  expect(configs.map(voterOrder)).toEqual(configs.map(() => ["n1", "n2", "n3"]));
  for (const field of ["api", "dataDir"] as const) expect(new Set(configs.map((config) => config[field])).size).toBe(3);
});
