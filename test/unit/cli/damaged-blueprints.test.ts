// A blueprint whose rows are damaged, as people meet it over HTTP and on the command line: over real rows.
import { afterEach, beforeEach, expect, test } from "vitest";
import { runCli } from "../../../src/cli/program.ts";
import { formatKey, type KeyText } from "../../../src/kvstore/core/key.ts";
import { ArtifactRepository } from "../../../src/slices/artifacts/repository.ts";
import { BlueprintStore } from "../../../src/slices/blueprints/blueprint-store.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { openApi, type ApiFixture } from "../api/api-fixture.ts";
import { sampleArchive } from "../slices-build/sample-artifacts.ts";

let local: LocalKv;
let api: ApiFixture;

beforeEach(async () => {
  local = await createLocalKv();
  const { kv } = local;
  const artifacts = new ArtifactRepository({ kv, clock: { wallMs: () => 1_700_000_000_000 } });
  const blueprints = new BlueprintStore({ kv, artifacts });
  for (const name of ["orders", "stock"]) await artifacts.push(sampleArchive({ artifact: `demo:${name}:1.0.0` }));
  await blueprints.apply("shop", { slices: { orders: { artifact: "demo:orders:1.0.0" } } });
  await blueprints.apply("depot", { slices: { stock: { artifact: "demo:stock:1.0.0" } } });
  api = await openApi("n1", local, { blueprints });
});

afterEach(async () => {
  await api.close();
  await local.close();
});

async function write(key: KeyText, value: unknown): Promise<void> {
  await local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
}

const damages: readonly (readonly [string, () => Promise<void>])[] = [
  ["its revision", () => write(formatKey({ kind: "blueprint", name: "shop", revision: 1 }), { slices: 7 })],
  ["what points to it", () => write(formatKey({ kind: "blueprint-current", name: "shop" }), { revision: "?" })],
];

test.each(damages)("a blueprint that cannot be read is told and deleted over HTTP: %s", async (_what, damage) => {
  await damage();
  expect(await send("GET", "/shop/status")).toMatchObject([500, { error: { code: "E_DATA_CORRUPT" } }]);
  expect(await send("DELETE", "/shop")).toEqual([200, { name: "shop", revision: 1 }]);
  expect(await send("GET", "/shop")).toMatchObject([404, { error: { code: "E_NOT_FOUND" } }]);
  expect(await send("GET", "")).toEqual([200, { blueprints: [{ name: "depot", revision: 1 }] }]);
});

test.each(damages)("a blueprint that cannot be read can be deleted with aether: %s", async (_what, damage) => {
  await damage();
  const status = await aether("blueprint", "status", "shop");
  expect(status).toMatchObject({ exitCode: 1, err: expect.stringMatching(/^E_DATA_CORRUPT: .*delete it/) });
  expect(await aether("blueprint", "delete", "shop", "--json")).toEqual({
    exitCode: 0, out: '{"name":"shop","revision":1}', err: "",
  });
  expect(await aether("blueprint", "delete", "shop")).toMatchObject({
    exitCode: 1, err: expect.stringContaining("E_NOT_FOUND"),
  });
  expect((await aether("blueprint", "status", "depot")).exitCode).toBe(0);
});

async function send(method: string, path: string): Promise<readonly [number, unknown]> {
  const response = await fetch(`${api.url}/v1/blueprints${path}`, { method });
  return [response.status, await response.json()];
}

async function aether(...args: readonly string[]) {
  const [out, err]: [string[], string[]] = [[], []];
  const exitCode = await runCli([...args, "--api", api.url], {
    env: {}, cwd: ".", print: (text) => out.push(text), report: (text) => err.push(text),
    readInput: () => Promise.resolve(""), nowMs: () => 0, wallMs: () => 0, sleep: () => Promise.resolve(),
    onInterrupt: () => () => undefined, exitNow: () => undefined,
  });
  return { exitCode, out: out.join("\n"), err: err.join("\n") };
}
