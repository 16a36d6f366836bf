import { expect, test } from "vitest";
import { loadNodeConfig, readSecrets } from "../../../src/node/config.ts";

const VARIABLES = {
  AETHER_CLUSTER: "demo",
  AETHER_NODE: "n1",
  AETHER_LISTEN: "ws://127.0.0.1:7101",
  AETHER_VOTERS: "n1=ws://127.0.0.1:7101,n2=ws://127.0.0.1:7102",
  AETHER_DATA_DIR: "./data",
};

function load(variables: Readonly<Record<string, string>>): ReturnType<typeof loadNodeConfig> {
  return loadNodeConfig({ variables: { ...VARIABLES, ...variables } });
}

test("a text that looks like a number stays a text where one is wanted", () => {
  const voters = "7=ws://127.0.0.1:7101";
  expect(load({ AETHER_CLUSTER: "2024", AETHER_NODE: "7", AETHER_VOTERS: voters })).toMatchObject({
    cluster: "2024",
    node: "7",
  });
});

test("numbers are numbers, also inside a section", () => {
  const config = load({ AETHER_API_CONNECTIONS_MAX: "100", AETHER_CONSENSUS_WINDOW_SLOTS: "512" });
  expect([config.apiConnectionsMax, config.consensus.windowSlots]).toEqual([100, 512]);
});

test.each(["@data", "{a", "- x", "`d", "%d", "a: b", '"'])("the data directory may be called %s", (dataDir) => {
  expect(load({ AETHER_DATA_DIR: dataDir }).dataDir).toBe(dataDir);
});

test("a number that is none, or out of range, names its field", () => {
  expect(() => load({ AETHER_API_CONNECTIONS_MAX: "many" })).toThrow(/apiConnectionsMax/);
  expect(() => load({ AETHER_API_CONNECTIONS_MAX: "0" })).toThrow(/apiConnectionsMax/);
});

test("one address for peers and clients is refused", () => {
  expect(() => load({ AETHER_API: "http://127.0.0.1:7101" })).toThrow(/api: is .*own port/);
});

test("a node begins a cluster or joins one, or its disk knows already", () => {
  const joining = { AETHER_VOTERS: "", AETHER_JOIN: "ws://127.0.0.1:7101,ws://127.0.0.1:7102" };
  expect(load(joining)).toMatchObject({ voters: {}, join: ["ws://127.0.0.1:7101", "ws://127.0.0.1:7102"] });
  expect(load({})).toMatchObject({ join: [] });
  expect(load({ AETHER_VOTERS: "" })).toMatchObject({ voters: {}, join: [] });
  expect(() => load({ AETHER_JOIN: "ws://127.0.0.1:7102" })).toThrow(/^voters, join: .*remove one of both/);
  expect(() => load({ ...joining, AETHER_JOIN: "http://127.0.0.1:7101" })).toThrow(/join.0: use a ws/);
});

test("first voters without this node, at another address or twice at one are refused", () => {
  expect(() => load({ AETHER_NODE: "n4" })).toThrow(/does not name this node "n4".*`join`/);
  expect(() => load({ AETHER_LISTEN: "ws://127.0.0.1:7109" })).toThrow(/listen: is .*make them the same/);
  const twice = "n1=ws://127.0.0.1:7101,n2=ws://127.0.0.1:7101";
  expect(() => load({ AETHER_VOTERS: twice })).toThrow(/two nodes have the same address/);
});

test("secrets are the variables that the configuration names; unusable ones are left out and said", () => {
  const config = load({ AETHER_SECRETS: "shop-key=SHOP_KEY,short=SHORT,absent=ABSENT" });
  expect(config.secrets["shop-key"]).toEqual({ variable: "SHOP_KEY" });
  const said: unknown[] = [];
  const log = { warn: (fields: unknown): void => void said.push(fields) };
  expect(readSecrets(config, log, { SHOP_KEY: "12345678", SHORT: "1234567" })).toEqual({ "shop-key": "12345678" });
  expect(said).toMatchObject([
    { secret: "short", variable: "SHORT", reason: "it has less than 8 characters" },
    { secret: "absent", variable: "ABSENT", reason: "the variable is not set" },
  ]);
  expect(JSON.stringify(said)).not.toContain("1234567");
});
