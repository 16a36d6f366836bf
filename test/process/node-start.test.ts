// A node as a process: how it says that it is ready, how it ends, and what it refuses to start with.
import { createServer, type Server } from "node:net";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { type AetherProcess, ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const ALONE = { names: ["n1"] };

/** So many that their replay takes much longer than a question; fewer than make a checkpoint due. */
const LONG_JOURNAL_PUTS = 60_000;
const WRITERS = 2_000;

/** Waits until the node is in the middle of its journal. Asked at that moment, it lives and serves nothing. */
async function seeReplay(fleet: NodeFleet, node: AetherProcess): Promise<void> {
  const api = fleet.api("n1");
  await eventually("it reads its journal", async () => {
    expect(node.isRunning, node.transcript()).toBe(true);
    const [live, ready, read] = await Promise.all(["/livez", "/readyz", "/v1/kv/data/long/0"].map((path) => {
      // ignored: nobody listens yet
      return ask(`${api}${path}`).catch(() => undefined);
    }));
    if (ready?.status !== 503 || !/of its journal/.test(JSON.stringify(ready.body))) {
      expect(ready?.status, "its start was seen").not.toBe(200);
      return undefined;
    }
    expect(live).toMatchObject({ status: 200, body: { live: true } });
    expect(read).toMatchObject({ status: 503, body: { error: { code: "E_UNAVAILABLE" } } });
    return true;
  });
}

describe("starting and stopping a node", () => {
  test("it prints exactly one line on stdout when it can serve, and says what it is", async () => {
    const fleet = await NodeFleet.open(ALONE);
    const node = await fleet.launch("n1");
    await node.ready();
    expect(node.stdout).toEqual([`aether node n1 ready api=${fleet.api("n1")}`]);
    expect(node.complaints).toEqual([]);
    expect(await ask(`${fleet.api("n1")}/readyz`)).toMatchObject({ status: 200, body: { ready: true } });
    expect(await ask(`${fleet.api("n1")}/livez`)).toMatchObject({ status: 200, body: { live: true } });
  });

  test.each(["SIGTERM", "SIGINT"] as const)("%s ends it with exit code 0 and without a complaint", async (signal) => {
    const fleet = await NodeFleet.open(ALONE);
    await fleet.startAll();
    expect(await ask(`${fleet.api("n1")}/v1/kv/data/a`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
    const node = fleet.process("n1");
    expect(await node.stop(signal)).toEqual({ code: 0, signal: null });
    expect(node.complaints).toEqual([]);
    await fleet.start("n1");
    expect(await ask(`${fleet.api("n1")}/v1/kv/data/a`)).toMatchObject({ status: 200, body: { value: 1 } });
  });

  test("SIGTERM before it is ready ends it with exit code 0 too", async () => {
    const fleet = await NodeFleet.open();
    const node = await fleet.launch("n1");
    await eventually("its API answers", async () =>
      (await ask(`${fleet.api("n1")}/livez`)).status === 200 || undefined);
    expect(await node.stop("SIGTERM")).toEqual({ code: 0, signal: null });
    expect(node.stdout).toEqual([]);
  });

  test("a node with a long journal says that it lives and how far it is; a signal cancels that start", async () => {
    const fleet = await NodeFleet.open(ALONE);
    await fleet.startAll();
    const client = connect({ nodes: fleet.apis, discovery: "off" });
    const writer = async (first: number): Promise<void> => {
      for (let at = first; at < LONG_JOURNAL_PUTS; at += WRITERS) await client.kv.put(`data/long/${at}`, at);
    };
    await Promise.all(Array.from({ length: WRITERS }, (_, first) => writer(first)));
    client.close();
    await fleet.kill("n1");
    const cancelled = await fleet.launch("n1");
    await seeReplay(fleet, cancelled);
    expect(await cancelled.stop("SIGTERM")).toEqual({ code: 0, signal: null });
    expect(cancelled.stdout).toEqual([]);
    const node = await fleet.launch("n1");
    await seeReplay(fleet, node);
    await node.ready();
    expect(node.logged("consensus.replayed")).toHaveLength(1);
    const last = `data/long/${LONG_JOURNAL_PUTS - 1}`;
    expect(await ask(`${fleet.api("n1")}/v1/kv/${last}`)).toMatchObject({ body: { value: LONG_JOURNAL_PUTS - 1 } });
  });

  test("an open client session and an open event stream do not keep it from stopping", async () => {
    const fleet = await NodeFleet.open(ALONE);
    await fleet.startAll();
    const client = connect({ nodes: fleet.apis });
    onTestFinished(() => client.close());
    await client.kv.put("data/a", 1);
    const stream = await fetch(`${fleet.api("n1")}/v1/kv/watch?prefix=data/`);
    expect(stream.status).toBe(200);
    expect(await fleet.process("n1").stop("SIGTERM")).toEqual({ code: 0, signal: null });
    // ignored: the stream may end in order or by a reset; that it ends is what counts
    await stream.text().catch(() => undefined);
  });

  test("a node without a disk says loudly that it will lose its data", async () => {
    const fleet = await NodeFleet.open({ ...ALONE, config: { durability: "memory" } });
    await fleet.startAll();
    expect(fleet.process("n1").complaints).toEqual([
      "aether: durability is memory: everything this node holds is lost when it stops",
    ]);
  });
});

describe("where the configuration comes from", () => {
  test("variables win over the file, and flags over variables", async () => {
    const fleet = await NodeFleet.open(ALONE);
    const file = join(fleet.directory, "n1.yaml");
    await writeFile(file, JSON.stringify({ ...fleet.configOf("n1"), cluster: "file", labels: { from: "file" } }));
    const node = fleet.run(["node", "start", "--config", file, "--cluster", "flag"], {
      variables: { AETHER_CLUSTER: "variable", AETHER_LABELS: "from=variable" },
    });
    await node.ready();
    await eventually("its labels are known", async () => {
      const { body } = await ask(`${fleet.api("n1")}/v1/cluster`);
      expect(body).toMatchObject({ cluster: "flag", nodes: [{ id: "n1", labels: { from: "variable" } }] });
      return true;
    });
  });

  test("a node can be started from flags alone, and from variables alone", async () => {
    const fleet = await NodeFleet.open(ALONE);
    const [listen, api, dataDir] = [fleet.peer("n1"), fleet.api("n1"), fleet.dataDir("n1")];
    const byFlags = fleet.run([
      "node", "start", "--cluster", "c", "--node", "n1", "--listen", listen, "--api", api,
      "--voters", `n1=${listen}`, "--data-dir", dataDir,
    ]);
    await byFlags.ready();
    expect(await byFlags.stop("SIGTERM")).toEqual({ code: 0, signal: null });
    const byVariables = fleet.run(["node", "start"], {
      variables: {
        AETHER_CLUSTER: "c",
        AETHER_NODE: "n1",
        AETHER_LISTEN: listen,
        AETHER_API: api,
        AETHER_VOTERS: `n1=${listen}`,
        AETHER_DATA_DIR: dataDir,
        AETHER_DURABILITY: "memory",
        AETHER_CONSENSUS_WINDOW_SLOTS: "32",
        AETHER_PEER_FRAME_BYTES_MAX: "6291456",
      },
    });
    await byVariables.ready();
    expect(byVariables.complaints).toHaveLength(1);
  });
});

describe("what a node refuses to start with", () => {
  const unusable: readonly { name: string; changes: Record<string, unknown>; says: RegExp }[] = [
    { name: "an unknown field", changes: { colour: "red" }, says: /colour/ },
    { name: "an unknown field of a section", changes: { consensus: { colour: 1 } }, says: /colour/ },
    { name: "a voter list without itself", changes: { voters: { n2: "ws://127.0.0.1:1" } }, says: /does not name/ },
    { name: "a bad node id", changes: { node: "N 1" }, says: /node: / },
    {
      name: "a peer address that is not loopback", changes: { listen: "ws://0.0.0.0:7101" },
      says: /listen: .*loopback/,
    },
    { name: "an API address that is not loopback", changes: { api: "http://0.0.0.0:7201" }, says: /api: .*loopback/ },
    { name: "no data directory", changes: { dataDir: undefined }, says: /dataDir/ },
    { name: "an unknown durability", changes: { durability: "maybe" }, says: /durability/ },
    { name: "a cluster name that is none", changes: { cluster: "My Cluster" }, says: /cluster/ },
    { name: "addresses to join", changes: { join: ["ws://127.0.0.1:1"] }, says: /join/ },
    { name: "no voters", changes: { voters: {} }, says: /voters/ },
  ];

  test.each(unusable)("$name: one line, and a non-zero exit code", async ({ changes, says }) => {
    const fleet = await NodeFleet.open(ALONE);
    await expectRefusal(await fleet.launch("n1", changes), "E_CONFIG", says);
  });

  const files: readonly { name: string; text: string; says: RegExp }[] = [
    { name: "that is not YAML", text: "cluster: [\n  node: n1\n", says: /not YAML/ },
    { name: "that is a list", text: "- cluster\n- node\n", says: /mapping/ },
    { name: "that is empty", text: "", says: /mapping/ },
  ];

  test.each(files)("a file $name", async ({ text, says }) => {
    const fleet = await NodeFleet.open(ALONE);
    const file = join(fleet.directory, "bad.yaml");
    await writeFile(file, text);
    await expectRefusal(fleet.run(["node", "start", "--config", file]), "E_CONFIG", says);
  });

  test("a file that is not there", async () => {
    const fleet = await NodeFleet.open(ALONE);
    const file = join(fleet.directory, "none.yaml");
    await expectRefusal(fleet.run(["node", "start", "--config", file]), "E_CONFIG", /cannot read .*none\.yaml/);
  });

  test("a peer port, or an API port, that another process has", async () => {
    const fleet = await NodeFleet.open(ALONE);
    const peerTaken = await occupy(fleet.peer("n1"));
    await expectRefusal(await fleet.launch("n1"), "E_PORT_IN_USE", new RegExp(fleet.peer("n1")));
    await release(peerTaken);
    await occupy(fleet.api("n1"));
    await expectRefusal(await fleet.launch("n1"), "E_PORT_IN_USE", new RegExp(fleet.api("n1")));
  });

  test("a data directory that another process has open; that process goes on", async () => {
    const fleet = await NodeFleet.open(ALONE);
    await fleet.startAll();
    const other = await NodeFleet.open(ALONE);
    const second = await other.launch("n1", { dataDir: fleet.dataDir("n1") });
    await expectRefusal(second, "E_DATA_LOCKED", /another process/);
    expect(await ask(`${fleet.api("n1")}/v1/kv/data/a`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
  });

  test("a data directory that is a file, or in a place where it cannot be made", async () => {
    const fleet = await NodeFleet.open(ALONE);
    const file = join(fleet.directory, "file");
    await writeFile(file, "");
    await expectRefusal(await fleet.launch("n1", { dataDir: file }), "E_CONFIG", /cannot open/);
    await expectRefusal(await fleet.launch("n1", { dataDir: join(file, "below") }), "E_CONFIG", /cannot open/);
  });

  test("a data directory of another node, of another cluster, or of other voters", async () => {
    const fleet = await NodeFleet.open(ALONE);
    await fleet.startAll();
    await fleet.process("n1").stop("SIGTERM");
    const { listen } = fleet.configOf("n1");
    const foreign = [
      { changes: { node: "n2", voters: { n2: listen } }, says: /belongs to node n1/ },
      { changes: { cluster: "other" }, says: /of cluster test/ },
      { changes: { voters: { n1: listen, n2: "ws://127.0.0.1:1" } }, says: /voters n1/ },
    ];
    for (const { changes, says } of foreign) {
      await expectRefusal(await fleet.launch("n1", changes), "E_DATA_FOREIGN", says);
    }
    await fleet.start("n1");
  });

  test("a store that is no database", async () => {
    const fleet = await NodeFleet.open(ALONE);
    await mkdir(join(fleet.dataDir("n1"), "kv"), { recursive: true });
    await writeFile(join(fleet.dataDir("n1"), "kv", "CURRENT"), "MANIFEST-999999\n");
    await expectRefusal(await fleet.launch("n1"), "E_DATA_CORRUPT", /kv/);
  });
});

/** Ended with exit code 1, after one line for people that begins with the code. */
async function expectRefusal(node: AetherProcess, code: string, says: RegExp): Promise<void> {
  const end = await node.waitForEnd();
  expect(node.complaints, node.transcript()).toHaveLength(1);
  expect(node.complaints[0]).toMatch(new RegExp(`^aether: ${code}: `));
  expect(node.complaints[0]).toMatch(says);
  expect(end).toEqual({ code: 1, signal: null });
  expect(node.stdout).toEqual([]);
}

async function occupy(url: string): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(Number(new URL(url).port), "127.0.0.1", resolve));
  onTestFinished(() => release(server));
  return server;
}

async function release(server: Server): Promise<void> {
  await new Promise((resolve) => server.close(resolve));
}
