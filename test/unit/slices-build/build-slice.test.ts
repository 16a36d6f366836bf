import { chmod, mkdir, mkdtemp, readdir, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeArchive } from "../../../src/slices/core/archive.ts";
import { buildSlice } from "../../../src/slices/build/build-slice.ts";

const CONTRACTS = `
import { z } from "zod";
import { defineContract, method } from "aether/slice";
export const pricing = defineContract("pricing", {
  quote: method({
    input: z.object({ sku: z.string() }), output: z.object({ cents: z.int() }), effect: "read", timeoutMs: 2000,
  }),
});
export const orders = defineContract("orders", {
  place: method({
    input: z.object({ sku: z.string(), quantity: z.int().default(1) }),
    output: z.object({ cents: z.int() }),
  }),
});
`;
const SLICE = `
import { z } from "zod";
import { defineSlice } from "aether/slice";
import { orders, pricing } from "../contracts.ts";
export default defineSlice({
  contract: orders,
  uses: { prices: pricing },
  config: z.object({ currency: z.string(), taxRate: z.number().default(0.2) }),
  start: () => { throw new Error("never run by a build"); },
  methods: {
    place: async ({ sku, quantity }, ctx) => ({ cents: (await ctx.uses.prices.quote({ sku })).cents * quantity }),
  },
});
`;
const USES = { prices: "demo:pricing@^1.0.0" };
const AETHER_JSON = JSON.stringify({ artifact: "demo:orders", version: "1.0.0", uses: USES });

let root = "";
let directories = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "aether-build-test-"));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

/** A new project with these files; returns the directory of its slice `orders`. */
async function project(files: Readonly<Record<string, string>>, under = ""): Promise<string> {
  const base = join(root, `p${++directories}`, under);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(base, name)), { recursive: true });
    await writeFile(join(base, name), text);
  }
  return join(base, "orders");
}

const good = { "contracts.ts": CONTRACTS, "orders/slice.ts": SLICE, "orders/aether.json": AETHER_JSON };

/** A project whose slice is this text and nothing else. */
const withSlice = (text: string) => project({ ...good, "orders/slice.ts": text });

describe("building a slice", () => {
  test("gives a manifest that tells its contract without running it", async () => {
    const built = await buildSlice({ directory: await project(good) });
    expect(built.artifact).toBe("demo:orders:1.0.0");
    expect(built.manifest).toMatchObject({
      format: 1,
      artifact: "demo:orders:1.0.0",
      slice: "orders",
      sdkVersion: "0.1.0",
      uses: { prices: { slice: "pricing", artifact: "demo:pricing@^1.0.0" } },
      methods: {
        place: {
          effect: "write",
          timeoutMs: 15_000,
          // What callers send: the default may be left out.
          input: { type: "object", required: ["sku"], properties: { quantity: { type: "integer", default: 1 } } },
          output: { type: "object", required: ["cents"] },
        },
      },
      config: { type: "object", required: ["currency"] },
    });
    const read = decodeArchive(built.archive);
    expect(read).toMatchObject({ digest: built.digest, manifest: built.manifest });
  });

  test("gives the same bytes from two directories", async () => {
    const first = await buildSlice({ directory: await project(good) });
    // Another depth, a tsconfig above it that would change the output, files made in another order by somebody with
    // other permissions at another time, and more files beside them.
    const tsconfig = '{"compilerOptions":{"target":"ES5"}}';
    const files = { ...good, "tsconfig.json": tsconfig, "orders/notes.md": "not part of it" };
    const others = Object.entries(files).reverse();
    const elsewhere = await project(Object.fromEntries(others), "a/much/deeper/place");
    for (const name of await readdir(elsewhere)) {
      await chmod(join(elsewhere, name), 0o600);
      await utimes(join(elsewhere, name), 1, 1);
    }
    const second = await buildSlice({ directory: elsewhere });
    expect(second.digest).toBe(first.digest);
    expect(Buffer.from(second.archive).equals(Buffer.from(first.archive))).toBe(true);
    const text = Buffer.from(first.archive).toString("latin1");
    expect(text).not.toContain(root);
    expect(text).not.toContain(process.cwd());
  });

  test("says in the manifest which slices it is loaded after, by the names of their contracts", async () => {
    const directory = await withSlice(SLICE.replace("config:", 'loadAfter: ["prices"], config:'));
    const built = await buildSlice({ directory });
    expect(built.manifest.loadAfter).toEqual(["pricing"]);
  });

  test("gives another digest for other code, config or version", async () => {
    const digests = await Promise.all([
      project(good),
      withSlice(SLICE.replace("0.2", "0.3")),
      project({ ...good, "orders/aether.json": AETHER_JSON.replace("1.0.0", "1.0.1") }),
    ].map(async (directory) => (await buildSlice({ directory: await directory })).digest));
    expect(new Set(digests).size).toBe(3);
  });

  test("bundles everything into one module that needs nothing installed", async () => {
    const built = await buildSlice({ directory: await project(good) });
    const file = join(root, "alone.mjs");
    await writeFile(file, decodeArchive(built.archive).bundle);
    interface Imported {
      readonly default: { readonly contract: { readonly methods: { readonly place: { readonly input: Schema } } } };
    }
    interface Schema {
      parse(value: unknown): unknown;
    }
    const module: Imported = await import(file) as Imported;
    expect(module.default.contract.methods.place.input.parse({ sku: "a" })).toEqual({ sku: "a", quantity: 1 });
  });

  test("accepts CommonJS code that asks for what Node has built in", async () => {
    const built = await buildSlice({ directory: await project({
      ...good,
      "orders/slice.ts": `import old from "./old.cjs"; old.run();${SLICE}`,
      "orders/old.cjs": 'const util = require("node:util"); exports.run = () => util.inspect(1);',
    }) });
    expect(built.artifact).toBe("demo:orders:1.0.0");
  });
});

/** A slice that describes itself, while it is imported. */
function descriptionOf(description: string): string {
  return `import { parentPort } from "node:worker_threads";
    parentPort.postMessage({ kind: "described", description: ${description} }); export default 1;`;
}

describe("a slice that cannot be built", () => {
  test.each([
    ["no default export", "export const a = 1;", /slice\.ts is not a slice: it has no default export/],
    ["something else as default export", "export default { contract: {} };", /was not made by `defineSlice`/],
    ["a syntax error", "export default {\n  a: = 1,\n};", /slice\.ts:2:6: .*=/],
    ["an import that is not there", 'import "./nowhere.ts";\nexport default 1;', /slice\.ts:1:8: Could not resolve/],
    ["an import of the node package", 'import { startNode } from "aether"; startNode();', /import from "aether\/slice"/],
    ["an exception while it is imported", 'throw new TypeError("no luck"); export default 1;', /TypeError: no luck/],
    ["an exit while it is imported", "process.exit(3); export default 1;", /exit code 3/],
    ["a handler that is missing", SLICE.replace("place: async", "plaice: async"), /methods without handler: place/],
    ["a bad name", SLICE.replace("contract: orders", 'contract: { ...orders, name: "a b" }'), /not a valid slice/],
    [
      "an answer of its own",
      'import { parentPort } from "node:worker_threads"; parentPort.postMessage("hi"); export default 1;',
      /messages of its own/,
    ],
    ["a description of its own that is nothing", descriptionOf("null"), /messages of its own/],
    ["a description of its own without uses", descriptionOf("{}"), /messages of its own/],
    ["garbage for its methods", descriptionOf('{ uses: { prices: "prices" }, methods: 7 }'), /this is not a manifest/],
  ])("with %s is refused with the reason", async (_what, text, reason) => {
    const directory = await withSlice(text);
    const refusal = { code: "E_INVALID", message: expect.stringMatching(reason) as unknown };
    await expect(buildSlice({ directory })).rejects.toMatchObject(refusal);
  });

  test("because its package names a use that the code does not have is refused", async () => {
    const directory = await project({ ...good, "orders/aether.json": AETHER_JSON.replace('"prices"', '"pricing"') });
    await expect(buildSlice({ directory })).rejects.toMatchObject({
      code: "E_INVALID", message: expect.stringMatching(/"uses" names pricing, but the slice uses prices/),
    });
  });

  test.each([
    ["../contracts.ts", "a path upwards"],
    ["/etc/passwd", "an absolute path"],
    ["sub/../../contracts.ts", "a path upwards in disguise"],
  ])("because its main %s is %s is refused", async (main) => {
    const text = JSON.stringify({ ...(JSON.parse(AETHER_JSON) as object), main });
    const directory = await project({ ...good, "orders/aether.json": text });
    await expect(buildSlice({ directory })).rejects.toMatchObject({
      code: "E_INVALID", message: expect.stringContaining("outside of the package") as unknown,
      details: { issues: [{ path: ["main"] }] },
    });
  });

  test("because its main is a link out of the package is refused", async () => {
    const directory = await project({ "secret.ts": "export default 1;", "orders/aether.json": AETHER_JSON });
    await symlink(join(directory, "..", "secret.ts"), join(directory, "slice.ts"));
    await expect(buildSlice({ directory })).rejects.toThrow("outside of the package");
  });

  test("because it uses itself is refused at the use", async () => {
    const directory = await withSlice(SLICE.replace("prices: pricing", "prices: orders"));
    await expect(buildSlice({ directory })).rejects.toMatchObject({
      code: "E_INVALID", details: { issues: [{ path: ["uses", "prices"] }] },
    });
  });

  test("because it loads after what it does not use is refused", async () => {
    const directory = await withSlice(SLICE.replace("config:", 'loadAfter: ["stock"], config:'));
    await expect(buildSlice({ directory })).rejects.toThrow('"loadAfter" names stock, which is not among its "uses"');
  });

  test("because its directory does not exist is refused as such", async () => {
    await expect(buildSlice({ directory: join(root, "nowhere") })).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test("because aether.json is not JSON is refused as such", async () => {
    const directory = await project({ ...good, "orders/aether.json": "{" });
    await expect(buildSlice({ directory })).rejects.toThrow(/aether\.json cannot be read as JSON/);
  });

  test("because its import never ends is given up when the caller gives up", async () => {
    const directory = await withSlice("await new Promise(() => setInterval(() => 1, 1000)); export default 1;");
    const controller = new AbortController();
    const building = buildSlice({ directory, signal: controller.signal });
    setImmediate(() => controller.abort(new TypeError("the caller gave up")));
    await expect(building).rejects.toThrow("the caller gave up");
  });
});
