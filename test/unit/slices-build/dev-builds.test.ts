import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { artifactParts } from "../../../src/base/ids.ts";
import { decodeArchive } from "../../../src/slices/core/archive.ts";
import { DevBuilds, type DevBuild } from "../../../src/slices/build/dev-builds.ts";

const SHOP = fileURLToPath(new URL("../../../docs/examples/01-shop/", import.meta.url));
let root: string;
let builds: DevBuilds;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "aether-dev-"));
  await cp(SHOP, root, { recursive: true });
  builds = new DevBuilds();
});

afterEach(async () => {
  await builds.close();
  await rm(root, { recursive: true });
});

const packages = (...names: readonly string[]): readonly string[] => names.map((name) => join(root, name));
const ALL = ["inventory", "orders", "pricing"];

function versionsOf({ slices }: DevBuild): readonly string[] {
  return slices.map(({ artifact }) => artifact.replace(/^demo:/, ""));
}

async function edit(file: string, from: string | RegExp, to: string): Promise<void> {
  const path = join(root, file);
  const text = await readFile(path, "utf8");
  expect(text).toMatch(from);
  await writeFile(path, text.replace(from, to));
}

test("packages get development versions: the next one when they change, the one they had when not", async () => {
  const first = await builds.build(packages(...ALL));
  expect(first.failures).toEqual([]);
  expect(versionsOf(first)).toEqual(["inventory:1.0.0-dev.1", "orders:1.0.0-dev.1", "pricing:1.0.0-dev.1"]);
  await edit("orders/slice.ts", "out-of-stock", "sold-out");
  const second = await builds.build(packages(...ALL));
  expect(versionsOf(second)).toEqual(["inventory:1.0.0-dev.1", "orders:1.0.0-dev.2", "pricing:1.0.0-dev.1"]);
  expect(Buffer.from(second.slices[0]?.archive() ?? "").equals(first.slices[0]?.archive() ?? Buffer.of())).toBe(true);
  await edit("orders/slice.ts", "sold-out", "out-of-stock");
  expect(versionsOf(await builds.build(packages(...ALL)))).toEqual(versionsOf(first));
  await edit("orders/aether.json", "1.0.0", "1.2.0");
  expect(versionsOf(await builds.build(packages("orders")))).toEqual(["orders:1.2.0-dev.3"]);
});

test("a shared file is an input of each slice that imports it", async () => {
  const { slices } = await builds.build(packages(...ALL));
  const users = slices.filter(({ inputs }) => inputs.includes(join(root, "contracts/pricing.ts")));
  expect(users.map(({ slice }) => slice)).toEqual(["orders", "pricing"]);
  await edit("contracts/pricing.ts", "quantity: ", "colour: z.string().optional(), quantity: ");
  const changed = versionsOf(await builds.build(packages(...ALL)));
  expect(changed).toEqual(["inventory:1.0.0-dev.1", "orders:1.0.0-dev.2", "pricing:1.0.0-dev.2"]);
});

test("the next run goes on with the numbers of the last one, and knows what it has built", async () => {
  const first = await builds.build(packages(...ALL));
  const manifests = first.slices.map((slice) => JSON.parse(JSON.stringify(decodeArchive(slice.archive()).manifest)));
  const next = new DevBuilds();
  try {
    next.learn([...manifests, { ...manifests[1], artifact: "demo:orders:0.9.0-dev.7" }]);
    await edit("pricing/slice.ts", /scarceBelow/g, "scarceUnder");
    expect(versionsOf(await next.build(packages("inventory", "orders", "pricing")))).toEqual([
      "inventory:1.0.0-dev.1", "orders:1.0.0-dev.1", "pricing:1.0.0-dev.2",
    ]);
    await edit("orders/slice.ts", "out-of-stock", "sold-out");
    expect(versionsOf(await next.build(packages("orders", "inventory", "pricing")))[0]).toBe("orders:1.0.0-dev.8");
  } finally {
    await next.close();
  }
});

describe("what a slice uses", () => {
  test("of its own project is named without a range, of others with it", async () => {
    const { slices } = await builds.build(packages("orders", "pricing"));
    const orders = slices.find(({ slice }) => slice === "orders");
    const { manifest } = decodeArchive(orders?.archive() ?? Buffer.of());
    expect(manifest.uses).toEqual({
      pricing: { slice: "pricing" },
      inventory: { slice: "inventory", artifact: "demo:inventory@^1.0.0" },
    });
    expect(artifactParts(manifest.artifact).version).toBe("1.0.0-dev.1");
  });

  test("must fit the version of the package that is here", async () => {
    await edit("orders/aether.json", "demo:pricing@^1.0.0", "demo:pricing@^2.0.0");
    const { slices, failures } = await builds.build(packages(...ALL));
    expect(slices).toEqual([]);
    const message = "demo:pricing@^2.0.0 is wanted, but the package pricing is demo:pricing:1.0.0: change one of them";
    expect(failures).toMatchObject([{ directory: join(root, "orders"), error: { code: "E_INVALID", message } }]);
  });
});

test("a reference of a blueprint stands for the package that is here, if its version fits", async () => {
  await builds.build(packages(...ALL));
  expect(builds.resolve("demo:orders@^1.0.0")).toBe("demo:orders:1.0.0-dev.1");
  expect(builds.resolve("demo:orders:1.0.0")).toBe("demo:orders:1.0.0-dev.1");
  expect(builds.resolve("demo:other@^1.0.0")).toBeUndefined();
  expect(() => builds.resolve("demo:orders@^2.0.0")).toThrow(/the package orders is demo:orders:1\.0\.0/);
});

test("mistakes are named with their places, and the packages that build are not handed out alone", async () => {
  const zod = 'import { z } from "zod";';
  await edit("orders/slice.ts", zod, `${zod}\nimport "./none.ts";\nlet = = 1;`);
  const { slices, failures } = await builds.build(packages(...ALL));
  expect(slices).toEqual([]);
  expect(failures).toMatchObject([{
    directory: join(root, "orders"),
    error: { code: "E_INVALID", details: { places: [{ file: join(root, "orders/slice.ts"), line: 6, column: 7 }] } },
  }]);
  await edit("orders/slice.ts", '\nimport "./none.ts";\nlet = = 1;', "");
  expect((await builds.build(packages(...ALL))).failures).toEqual([]);
});

test("two packages of one name are refused", async () => {
  await cp(join(root, "orders"), join(root, "orders2"), { recursive: true });
  expect((await builds.build(packages("orders", "orders2"))).failures).toMatchObject([
    { directory: join(root, "orders2"), error: { message: expect.stringContaining("so is the package orders") } },
  ]);
});
