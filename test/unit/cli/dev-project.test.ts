import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { readDevProject } from "../../../src/cli/dev/dev-project.ts";

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "aether-project-"));
});

afterEach(() => rm(root, { recursive: true }));

async function files(texts: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(texts)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
}

async function placesOf(): Promise<readonly string[]> {
  const error: unknown = await readDevProject(root).then(() => undefined, (thrown: unknown) => thrown);
  if (!(error instanceof AetherError)) throw new AetherError("E_INTERNAL", "the project was read", { cause: error });
  const places = error.details["places"] as { file: string; line: number; column: number; text: string }[];
  return places.map(({ file, line, column, text }) => `${file.slice(root.length + 1)}:${line}:${column}: ${text}`);
}

test("slice packages are the directories that say so; blueprints are the YAML files with slices", async () => {
  await files({
    "orders/aether.json": "{}",
    "pricing/package.json": '{ "name": "@demo/pricing", "aether": { "uses": {} } }',
    "web/package.json": '{ "name": "web" }',
    "contracts/orders.ts": "",
    ".hidden/aether.json": "{}",
    "shop.yaml": "name: store\nslices: { orders: { artifact: demo:orders@^1.0.0 } }",
    "more.yml": "slices: {}",
    "n1.yaml": "cluster: demo",
    "empty.yaml": "",
    "list.yaml": "- 1",
  });
  const { packages, blueprints } = await readDevProject(root);
  expect(packages).toEqual([join(root, "orders"), join(root, "pricing")]);
  expect(blueprints.map(({ name }) => name)).toEqual(["more", "store"]);
  expect(blueprints[1]?.document.slices["orders"]).toMatchObject({ instances: 1 });
});

test("a mistake in a blueprint is named with its line, also where something is missing", async () => {
  const many = "name: shop\nslices:\n  orders:\n    artifact: demo:orders@^1.0.0\n    instances: many\n";
  await files({ "shop.yaml": many });
  expect(await placesOf()).toEqual([expect.stringMatching(/^shop\.yaml:5:16: slices\.orders\.instances: /)]);
  await files({ "shop.yaml": "slices:\n  orders:\n    instances: 1\n" });
  expect(await placesOf()).toEqual([expect.stringMatching(/^shop\.yaml:3:5: slices\.orders\.artifact: /)]);
  await files({ "shop.yaml": "slices:\n  orders: [1\n" });
  expect((await placesOf())[0]).toMatch(/^shop\.yaml:3:1: /);
});

test("a directory that is not there is named", async () => {
  await expect(readDevProject(join(root, "none"))).rejects.toMatchObject({ code: "E_NOT_FOUND" });
});
