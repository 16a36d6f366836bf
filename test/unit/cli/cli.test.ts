// The command line as people run it: a child process of the compiled package against a real API server.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { PROGRAM } from "../../../src/base/package-files-adapter.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import { createLocalKv } from "../../support/local-kv.ts";
import { eventually } from "../../support/node-fleet.ts";
import { failWith, openApi, type ApiFixture } from "../api/api-fixture.ts";


interface Ended {
  readonly exitCode: number | null;
  readonly out: string;
  readonly err: string;
}

let api: ApiFixture;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "aether-cli-"));
});

afterAll(async () => {
  await rm(directory, { recursive: true });
});

beforeEach(async () => {
  api = await openApi();
});

afterEach(async () => {
  await api.close();
});

interface RunOptions {
  readonly input?: string;
  /** Ctrl-C as soon as this was printed. */
  readonly stopWhen?: string;
  readonly api?: string;
  /** Hears all that was printed so far. */
  onOutput?(out: string): void;
}

/** Runs `aether …` and waits for its end. */
function aether(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      cwd: directory,
      env: { PATH: process.env["PATH"], AETHER_API: options.api ?? api.url },
    });
    let out = "";
    let err = "";
    // One Ctrl-C: a second one ends a process that is still clearing up.
    let isStopped = false;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      options.onOutput?.(out);
      if (isStopped || options.stopWhen === undefined || !out.includes(options.stopWhen)) return;
      isStopped = child.kill("SIGINT");
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
    child.on("error", reject);
    child.on("close", (exitCode) => resolve({ exitCode, out, err }));
    child.stdin.end(options.input ?? "");
  });
}

/** An address at which nobody listens any more. */
async function openAndClose(): Promise<ApiFixture> {
  const gone = await openApi();
  await gone.close();
  return gone;
}

describe("events", () => {
  const gone = { kind: "node.gone", fields: { node: "n2" } } as const;

  test("what a node holds is shown, for people and for scripts", async () => {
    api.events.add(gone, { kind: "store", revision: 4, index: 0 }, Date.parse("2026-03-02T09:12:48Z"));
    api.events.add({ ...gone, kind: "node.on-duty" }, { kind: "store", revision: 5, index: 0 }, 0);
    expect(await aether(["events", "--severity", "error"])).toMatchObject({
      exitCode: 0, err: "",
      out: "2026-03-02T09:12:48.000Z  error    node.gone             n2 is gone: others take its work\n",
    });
    const lines = (await aether(["events", "--json"])).out.trim().split("\n");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([{ id: "4.0" }, { id: "5.0" }]);
    expect(await aether(["events", "--kind", "node.draining"])).toMatchObject({
      exitCode: 0, out: "", err: "the node holds no such events\n",
    });
  });

  test("they are followed until Ctrl-C, which is no error", async () => {
    const following = aether(["events", "--follow", "--since", "1 min"], { stopWhen: "n2 is gone" });
    api.events.add(gone, { kind: "store", revision: 4, index: 0 }, Date.now());
    expect(await following).toMatchObject({ exitCode: 0, err: "", out: expect.stringMatching(/node\.gone[^\n]+\n$/) });
  });

  test("kinds, times and severities that are none are refused", async () => {
    expect(await aether(["events", "--kind", "node.gon"])).toMatchObject({ exitCode: 1, out: "" });
    expect(await aether(["events", "--since", "soon"])).toMatchObject({ exitCode: 2, out: "" });
    expect(await aether(["events", "--severity", "fatal"])).toMatchObject({ exitCode: 2, out: "" });
  });
});

describe("kv", () => {
  test("put, get, list and delete, for people and for scripts", async () => {
    expect(await aether(["kv", "put", "data/greeting", '"hello"'])).toMatchObject({
      exitCode: 0, out: "written at revision 1\n", err: "",
    });
    expect((await aether(["kv", "get", "data/greeting"])).out).toBe('"hello"\n');
    const read = await aether(["kv", "get", "data/greeting", "--json"]);
    expect(JSON.parse(read.out)).toMatchObject({ value: "hello", modRevision: 1, revision: 1 });
    await aether(["kv", "put", "data/text", "-", "--text"], { input: "from stdin" });
    const list = await aether(["kv", "list"]);
    expect(list.out).toContain('data/greeting  1         "hello"');
    expect(list.out).toContain('"from stdin"');
    expect((await aether(["kv", "delete", "data/text"])).out).toBe("deleted at revision 3\n");
  });

  test("a refusal is exit code 1 and one line with its code", async () => {
    const missing = await aether(["kv", "get", "data/none"]);
    expect(missing).toMatchObject({ exitCode: 1, out: "" });
    expect(missing.err).toMatch(/^E_NOT_FOUND: [^\n]+\n$/);
    expect((await aether(["kv", "put", "nodes/n1/state", "1"])).err).toMatch(/^E_FORBIDDEN: [^\n]+\n$/);
  });

  test("a condition that does not hold is exit code 1", async () => {
    await aether(["kv", "put", "data/a", "1"]);
    expect(await aether(["kv", "put", "data/a", "2", "--if-absent"])).toMatchObject({ exitCode: 1 });
    expect(await aether(["kv", "put", "data/a", "2", "--if-revision", "1"])).toMatchObject({ exitCode: 0 });
  });

  test("watch prints changes until Ctrl-C, which is no error", async () => {
    const watching = aether(["kv", "watch", "data/w/"], { stopWhen: "data/w/last" });
    let isOver = false;
    void watching.finally(() => (isOver = true));
    // The watch is live: only what is written after it began is seen.
    while (!isOver) await fetch(`${api.url}/v1/kv/data/w/last`, { method: "PUT", body: "1" });
    const ended = await watching;
    expect([ended.exitCode, ended.err]).toEqual([0, ""]);
    expect(ended.out).toMatch(/^\d+ put data\/w\/last 1\n/);
  });

  test("watch begins at a revision and goes on at another node, nothing lost and nothing twice", async () => {
    const local = await createLocalKv();
    const [first, second] = [await openApi("n1", local), await openApi("n2", local)];
    first.others.push(second.url);
    let written = 0;
    const put = async (): Promise<void> => {
      const key = parseKeyText(`data/w/${++written}`);
      await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: written }], else: [] });
    };
    await put();
    await put();
    let printed = "";
    const onOutput = (out: string): void => void (printed = out);
    const options = { api: first.url, stopWhen: "put data/w/6 6", onOutput };
    const watching = aether(["kv", "watch", "data/w/", "--from", "2"], options);
    await eventually("it watches", () => printed.includes("put data/w/2") || undefined);
    await put();
    const closed = first.close();
    while (written < 6) await put();
    await closed;
    const ended = await watching;
    await second.close();
    await local.close();
    expect(ended.exitCode).toBe(0);
    expect(ended.out).toBe([2, 3, 4, 5, 6].map((value) => `${value} put data/w/${value} ${value}\n`).join(""));
  });

  test("what is written later does not show in a listing of an earlier revision", async () => {
    for (const value of ["1", "2"]) await aether(["kv", "put", "data/a", value]);
    expect((await aether(["kv", "get", "data/a", "--revision", "1"])).out).toBe("1\n");
    const page = await aether(["kv", "list", "--revision", "1", "--json"]);
    expect(JSON.parse(page.out)).toMatchObject({ entries: [{ key: "data/a", value: 1 }], revision: 1, more: false });
  });
});

test("a lease is granted, renewed, shown and revoked, and takes its keys with it", async () => {
  const lease = (await aether(["lease", "grant", "60", "--requests"])).out.trim();
  expect((await aether(["kv", "put", "data/leased", "1", "--lease", lease])).exitCode).toBe(0);
  const read = await aether(["kv", "get", "data/leased", "--json"]);
  expect(JSON.parse(read.out)).toMatchObject({ lease: Number(lease) });
  expect((await aether(["lease", "renew", lease])).out).toBe(`lease ${lease} is renewed\n`);
  expect((await aether(["lease", "show", lease])).out).toBe(`session ${lease}: 60 s, 1 keys, renewed 1 times\n`);
  expect((await aether(["lease", "revoke", lease])).out).toBe(`lease ${lease} has ended\n`);
  expect((await aether(["kv", "get", "data/leased"])).err).toMatch(/^E_NOT_FOUND/);
  expect(await aether(["lease", "renew", lease])).toMatchObject({ exitCode: 1 });
  for (const wrong of [["grant", "0.5"], ["renew", "x"]]) {
    expect(await aether(["lease", ...wrong])).toMatchObject({ exitCode: 2 });
  }
});

test("the quota of the store is shown and set", async () => {
  expect((await aether(["cluster", "quota"])).out).toMatch(/^\d+ of 8589934592 bytes \(0\.0%\)\n$/);
  expect((await aether(["cluster", "quota", "16GiB"])).out).toContain("of 17179869184 bytes");
  expect(await aether(["cluster", "quota", "much"])).toMatchObject({ exitCode: 2 });
  expect((await aether(["cluster", "quota", "5"])).err).toMatch(/^E_INVALID/);
});

describe("exit codes", () => {
  test.each([
    ["no command", []],
    ["an unknown command", ["kv", "burn"]],
    ["a missing argument", ["kv", "get"]],
    ["a value that is no JSON", ["kv", "put", "data/a", "hello"]],
    ["a key that no URL can carry", ["kv", "get", "data/../x"]],
    ["an address that is none", ["kv", "get", "data/a", "--api", "nonsense"]],
    ["a file that is not there", ["blueprint", "validate", "none.yaml"]],
    ["a wrong number", ["dev", "--nodes", "99"]],
    ["an empty key", ["kv", "get", ""]],
    ["a patience that no node has", ["call", "orders", "place", "--timeout", "99999999999"]],
    ["a victim that is no node", ["demo", "--victim", "n9"]],
  ])("%s is usage: 2", async (_what, args) => {
    expect(await aether(args)).toMatchObject({ exitCode: 2, out: "" });
  });

  test("help is 0 and shows examples", async () => {
    const help = await aether(["kv", "put", "--help"]);
    expect(help.exitCode).toBe(0);
    expect(help.out).toContain("aether kv put data/greeting hello --text");
  });

  test.each([
    ["ports that overlap", ["dev", "--peer-port", "7101", "--api-port", "7102"], /overlap/],
    ["a port closed to HTTP clients", ["kv", "put", "data/a", "1", "--api", "http://127.0.0.1:1"], /E_UNAVAILABLE/],
  ])("%s is 1: nothing was done", async (_what, args, found) => {
    const ended = await aether(args);
    expect(ended.exitCode).toBe(1);
    expect(ended.err).toMatch(found);
  });

  test("an outcome that is not known is 3", async () => {
    api.script = failWith({ code: "E_TIMEOUT", message: "the instance died", outcome: "unknown" });
    const call = await aether(["call", "orders", "place", "{}"]);
    expect(call).toMatchObject({ exitCode: 3, err: "E_TIMEOUT: the instance died (outcome unknown)\n" });
  });

  test("no node is 1: nothing was sent", async () => {
    const { url } = await openAndClose();
    const ended = await aether(["kv", "put", "data/a", "1"], { api: url });
    expect(ended.exitCode).toBe(1);
    expect(ended.err).toMatch(/^E_UNAVAILABLE: [^\n]+\n$/);
  });

  test("a bad configuration of a node is 1, one line", async () => {
    const ended = await aether(["node", "start", "--cluster", "demo", "--node", "BAD ID"]);
    expect(ended.exitCode).toBe(1);
    expect(ended.err).toMatch(/E_CONFIG: [^\n]+\n$/);
  });
});

describe("--fresh deletes", () => {
  const dev = ["dev", "--fresh", "--nodes", "1", "--dir", "cluster", "--peer-port", "1", "--api-port", "3"];

  test("nothing that it has not made", async () => {
    await mkdir(join(directory, "cluster", "data"), { recursive: true });
    await writeFile(join(directory, "cluster", "data", "diary.txt"), "mine");
    const ended = await aether(dev);
    expect([ended.exitCode, ended.err]).toEqual([1, expect.stringContaining("not deleted")]);
    expect(await readFile(join(directory, "cluster", "data", "diary.txt"), "utf8")).toBe("mine");
  });

  test("nothing of a cluster that runs", async () => {
    await mkdir(join(directory, "cluster", "data"), { recursive: true });
    await writeFile(join(directory, "cluster", "data", "cluster.yaml"), "nodes: 1");
    await writeFile(join(directory, "cluster", "n1.yaml"), `api: ${api.url}`);
    const ended = await aether(dev);
    expect([ended.exitCode, ended.err]).toEqual([1, expect.stringContaining(`a node answers at ${api.url}`)]);
    expect(await readFile(join(directory, "cluster", "data", "cluster.yaml"), "utf8")).toBe("nodes: 1");
  });
});

test("a name beside another one in the file is refused, not passed over", async () => {
  await writeFile(join(directory, "named.yaml"), "{ name: shop, slices: {} }");
  const ended = await aether(["blueprint", "apply", "named.yaml", "--name", "store"]);
  expect([ended.exitCode, ended.err]).toEqual([2, expect.stringContaining('"shop", but --name is "store"')]);
});

test("call passes its input and prints the output", async () => {
  const call = await aether(["call", "orders", "place", '{"sku":"tea"}', "--json", "--timeout", "700"]);
  expect(call).toMatchObject({ exitCode: 0, out: '{"echo":{"sku":"tea"}}\n' });
  expect(api.calls).toMatchObject([{ slice: "orders", method: "place", timeoutMs: 700 }]);
});

test("cluster status shows the quorum, nodes, roles, lag and leader", async () => {
  const status = await aether(["cluster", "status"]);
  expect(status.out).toContain("at version 1, seen by n1: quorum 2 of 2, can lose 0");
  expect(status.out).toContain("warning: of two voters none may fail");
  expect(status.out).toMatch(/n1 +voter +on-duty +0 +none +yes \(epoch 3\) +up to 1 /);
  expect(status.out).toMatch(/n9 +voter +gone +0 +- +- +- +zone=a/);
});

describe("changes of the membership", () => {
  const member = { id: "n4", role: "member", status: "on-duty", slotsBehind: 3 } as const;

  test("are asked for one by one, and told", async () => {
    expect(await aether(["node", "remove", "n9"])).toMatchObject({ exitCode: 0, out: "n9 is removed\n" });
    const replaced = await aether(["node", "replace", "n9", "--json"]);
    expect(replaced).toMatchObject({ exitCode: 0, out: '{"node":"n9","change":"replace"}\n' });
    expect((await aether(["node", "replace", "n9"])).out).toContain("aether node join ADDRESS-OF-A-PEER");
    expect(api.changes.map(({ kind, node }) => `${kind} ${node}`)).toEqual(["remove n9", "replace n9", "replace n9"]);
  });

  test("name the directory that has the name now, or the one they are told", async () => {
    api.addNode({ ...member, slotsBehind: 0, directory: "0123456789abcdef" });
    await aether(["node", "promote", "n4"]);
    await aether(["node", "remove", "n4"]);
    await aether(["node", "remove", "n4", "--directory", "fedcba9876543210"]);
    await aether(["node", "replace", "n4", "--directory", "fedcba9876543210"]);
    expect(api.changes).toEqual([
      { kind: "promote", node: "n4", uid: "0123456789abcdef" },
      { kind: "remove", node: "n4", uid: "0123456789abcdef" },
      { kind: "remove", node: "n4", uid: "fedcba9876543210" },
      { kind: "replace", node: "n4", uid: "fedcba9876543210" },
    ]);
    api.changeScript = () => Promise.reject(new AetherError("E_TIMEOUT", "no outcome"));
    expect(await aether(["node", "remove", "n4"])).toMatchObject({
      exitCode: 3,
      err: expect.stringContaining("run `aether node remove n4 --directory 0123456789abcdef`"),
    });
  });

  test("a member is promoted once it has caught up", async () => {
    api.addNode({ ...member, status: "joining", slotsBehind: 70_000 });
    const promoting = aether(["node", "promote", "n4"]);
    await eventually("the command looks again", () => api.views() > 1 || undefined);
    expect(api.changes).toEqual([]);
    api.addNode(member);
    const promoted = await promoting;
    expect(promoted).toMatchObject({ exitCode: 0, out: "n4 is a voter\n" });
    expect(promoted.err).toContain("n4 is joining; behind: 70000 slots");
  });

  test("a member that does not catch up is not promoted", async () => {
    api.addNode({ ...member, slotsBehind: undefined });
    const promoted = await aether(["node", "promote", "n4", "--timeout", "0.1"]);
    expect(promoted).toMatchObject({ exitCode: 1 });
    expect(promoted.err).toMatch(/n4 is not there[^]*E_UNAVAILABLE: n4 has not caught up/);
    expect(api.changes).toEqual([]);
  });

  test("are refused with the cluster's reason, and end with 3 when it is not known what became of them", async () => {
    api.changeScript = () => Promise.reject(new AetherError("E_CONFLICT", "another change is under way"));
    const refused = await aether(["node", "remove", "n9"]);
    expect(refused).toMatchObject({ exitCode: 1, err: "E_CONFLICT: another change is under way\n" });
    api.changeScript = () => Promise.reject(new AetherError("E_TIMEOUT", "no outcome"));
    expect(await aether(["node", "remove", "n9"])).toMatchObject({ exitCode: 3 });
    expect(await aether(["node", "remove", "N 9"])).toMatchObject({ exitCode: 1 });
    expect(await aether(["node", "promote", "n4", "--timeout", "soon"])).toMatchObject({ exitCode: 2 });
  });
});

test("a blueprint is validated, applied, waited for, shown and deleted", async () => {
  const document = { name: "shop", slices: { orders: { artifact: "demo:orders@^1.0.0", instances: 1 } } };
  await writeFile(join(directory, "shop.yaml"), JSON.stringify(document));
  expect((await aether(["blueprint", "validate", "shop.yaml"])).out).toContain("is valid");
  const applied = await aether(["blueprint", "apply", "shop.yaml", "--wait"]);
  expect(applied).toMatchObject({ exitCode: 0, out: "blueprint shop is at revision 1\n" });
  expect(applied.err).toContain("demo:orders:1.0.0/0 on n1: ACTIVE");
  expect((await aether(["blueprint", "status", "shop"])).out).toMatch(/orders +demo:orders:1\.0\.0 +1\/1 +n1 +ACTIVE/);
  await writeFile(join(directory, "late.yaml"), JSON.stringify({ ...document, name: "late" }));
  expect(await aether(["blueprint", "apply", "late.yaml"])).toMatchObject({ exitCode: 0 });
  const late = await aether(["blueprint", "status", "late"]);
  expect(late.out).toContain("orders 0 of 1 (waits for stock to serve)");
  expect(late.out).toContain("from demo:orders:0.9.0 to demo:orders:1.0.0; waits: 12 of 50 calls)");
  const rolledBack = await aether(["blueprint", "rollback", "shop", "--to", "1", "--wait"]);
  expect(rolledBack).toMatchObject({ exitCode: 0, out: expect.stringContaining("2, which is revision 1 again") });
  expect(rolledBack.err).toContain("demo:orders:1.0.0/0 on n1: ACTIVE");
  expect(await aether(["blueprint", "rollback", "shop", "--to", "first"])).toMatchObject({ exitCode: 2 });
  expect(await aether(["blueprint", "rollback", "none"])).toMatchObject({ exitCode: 1 });
  expect(await aether(["blueprint", "delete", "shop"])).toMatchObject({ exitCode: 0 });
  await writeFile(join(directory, "bad.yaml"), "slices: { orders: { artefact: x } }");
  expect((await aether(["blueprint", "validate", "bad.yaml"])).err).toMatch(/^E_INVALID: [^\n]+\n$/);
});

describe("a slice that runs", () => {
  test("its lines are shown as text that commands no terminal, or as JSON", async () => {
    const logs = await aether(["slice", "logs", "orders"]);
    expect(logs.exitCode).toBe(0);
    expect(logs.out.split("\n")).toEqual([
      '2023-11-14T22:13:20.000Z n1 demo:orders:1.0.0/0 info order placed {"fields":{"id":7}}',
      "2023-11-14T22:13:20.001Z n1 demo:orders:1.0.0/0 info two",
      "    lines \uFFFD[31m",
      "",
    ]);
    const one = await aether(["slice", "logs", "orders", "--lines", "1", "--json"]);
    expect(JSON.parse(one.out)).toMatchObject({ node: "n1", level: "info", text: "two\nlines \u001b[31m" });
  });

  test("its lines are followed until Ctrl-C; a node that does not answer is named", async () => {
    const { url } = await openAndClose();
    api.others.push(url);
    const logs = await aether(["slice", "logs", "orders", "--follow"], { stopWhen: "order placed" });
    expect(logs).toMatchObject({ exitCode: 0, out: expect.stringContaining("lines \uFFFD[31m") });
    expect(logs.err).toContain("other0 does not say what runs there: no node answers at");
  });

  test("that nobody has is named, and so is a number of lines that is none", async () => {
    expect((await aether(["slice", "logs", "none"])).err).toMatch(/^E_NOT_FOUND: no blueprint has a slice "none"/);
    expect(await aether(["slice", "logs", "orders", "--lines", "0"])).toMatchObject({ exitCode: 2 });
  });

  test("is scaled", async () => {
    const scaled = await aether(["slice", "scale", "orders", "5"]);
    const said = "orders is to have 5 instances (minAvailable 1): blueprint shop is at revision 3\n";
    expect(scaled).toMatchObject({ exitCode: 0, out: said });
    expect((await aether(["slice", "scale", "none", "5"])).err).toMatch(/^E_NOT_FOUND/);
    expect(await aether(["slice", "scale", "orders", "-1"])).toMatchObject({ exitCode: 2 });
    expect(await aether(["slice", "scale", "orders", "many"])).toMatchObject({ exitCode: 2 });
  });
});

test("an archive is pushed by its name and listed", async () => {
  await writeFile(join(directory, "demo.orders-1.0.0.slice"), "archive");
  expect((await aether(["slice", "push", "demo.orders-1.0.0.slice"])).out).toMatch(/^pushed demo:orders:1\.0\.0 sha256:/);
  expect((await aether(["slice", "list"])).out).toContain("demo:orders:1.0.0");
  await writeFile(join(directory, "demo.orders-1.0.0.slice"), "other");
  expect((await aether(["slice", "push", "demo.orders-1.0.0.slice"])).err).toMatch(/^E_CONFLICT/);
  expect((await aether(["slice", "delete", "demo:orders:1.0.0"])).out).toBe("deleted demo:orders:1.0.0\n");
  expect((await aether(["slice", "delete", "demo:orders:1.0.0"])).err).toMatch(/^E_NOT_FOUND/);
});

test("a slice is built from its directory", async () => {
  const source = fileURLToPath(new URL("../../../docs/examples/01-shop/inventory", import.meta.url));
  const built = await aether(["slice", "build", source, "--out", "built", "--json"]);
  expect(built.err).toBe("");
  const { artifact, file } = JSON.parse(built.out) as { artifact: string; file: string };
  expect(artifact).toMatch(/^[a-z]+:inventory:\d+\.\d+\.\d+$/);
  const manifest = JSON.parse(await readFile(file.replace(/\.slice$/, ".manifest.json"), "utf8")) as { slice: string };
  expect(manifest.slice).toBe("inventory");
  expect((await aether(["slice", "push", file])).exitCode).toBe(0);
});
