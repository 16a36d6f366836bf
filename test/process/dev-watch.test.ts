// Slow. `aether dev DIRECTORY` as somebody works with it: save, see, break, mend, stop, begin again.
import { cp, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { z } from "zod";
import { findTestPorts } from "../support/test-ports.ts";
import { ask, eventually, NodeFleet, type AetherProcess } from "../support/node-fleet.ts";

const SHOP = fileURLToPath(new URL("../../docs/examples/02-shop/", import.meta.url));
const FILES = {
  "hall.yaml": `
slices:
  greeter: { artifact: "test:greeter@^1.0.0", instances: 2 }
  words: { artifact: "test:words@^1.0.0" }
`,
  "contracts/words.ts": `
import { defineContract, method } from "aether/slice";
import { z } from "zod";
export const words = defineContract("words", {
  hello: method({ input: z.object({}), output: z.string(), effect: "read" }),
});
`,
  "words/aether.json": '{ "artifact": "test:words", "version": "1.0.0" }',
  "words/slice.ts": `
import { defineSlice } from "aether/slice";
import { words } from "../contracts/words.ts";
export default defineSlice({ contract: words, methods: { hello: async () => "hello" } });
`,
  "greeter/aether.json": '{ "artifact": "test:greeter", "version": "1.0.0", "uses": { "words": "test:words@^1.0.0" } }',
  "greeter/slice.ts": `
import { defineContract, defineSlice, method } from "aether/slice";
import { z } from "zod";
import { words } from "../contracts/words.ts";
const greeter = defineContract("greeter", {
  greet: method({ input: z.object({}), output: z.string(), effect: "read" }),
});
export default defineSlice({
  contract: greeter,
  uses: { words },
  methods: {
    greet: async (_, ctx) => {
      ctx.log.info("greeted");
      return (await ctx.uses.words.hello({})) + " one";
    },
  },
});
`,
} as const;

const listSchema = z.object({ artifacts: z.array(z.object({ artifact: z.string() })) });

test("what is saved serves, what is broken is named and changes nothing, and the next run goes on", async () => {
  const fleet = await NodeFleet.open();
  const project = join(fleet.directory, "hall");
  for (const [file, text] of Object.entries(FILES)) await save(join(project, file), text);
  const peer = await findTestPorts(6);
  const api = `http://127.0.0.1:${peer + 3}`;
  const args = ["dev", "hall", "--peer-port", String(peer), "--api-port", String(peer + 3)];
  const dev = fleet.run([...args, "--dir", join(fleet.directory, "data")]);
  const slice = join(project, "greeter/slice.ts");

  await says(dev, /^hall deployed \(greeter, words\) in \d+ ms$/);
  await eventually("it answers", () => answers(api, "hello one"));
  await says(dev, /^greeter on n\d: greeted$/);

  for (const text of ["two", "three", "four"]) {
    await edit(slice, / (one|two|three)"/, ` ${text}"`);
    const line = await says(dev, /^greeter redeployed in \d+ ms$/);
    process.stdout.write(`aether dev: ${line}\n`);
    await eventually("the new one answers", () => answers(api, `hello ${text}`));
  }

  await edit(slice, 'ctx.log.info("greeted");', "const = 1;");
  await complains(dev, /^hall\/greeter\/slice\.ts:13:13: /);
  expect(await answers(api, "hello four")).toBe(true);
  // As editors save: another file takes its name.
  await edit(slice, "const = 1;", 'throw new RangeError("no voice");', "rename");
  await says(dev, /^greeter redeployed/);
  await eventually("it fails", async () =>
    (await greet(api)).status === 502 || undefined);

  // A new file, in a new directory, that both slices import.
  await save(join(project, "shared/tone/loud.ts"), 'export const loud = (text: string): string => text + "!";\n');
  await edit(slice, 'throw new RangeError("no voice");', "");
  await says(dev, /^greeter redeployed/);
  const text = (await readFile(slice, "utf8")).replace('" four"', 'loud(" five")');
  await save(slice, `import { loud } from "../shared/tone/loud.ts";\n${text}`);
  await says(dev, /^greeter redeployed/);
  await eventually("it is loud", () => answers(api, "hello five!"));
  await edit(join(project, "shared/tone/loud.ts"), '"!"', '"?"');
  await says(dev, /^greeter redeployed/);
  await eventually("it asks", () => answers(api, "hello five?"));

  await edit(join(project, "hall.yaml"), "instances: 2", "instances: some");
  await complains(dev, /^hall\/hall\.yaml:3:\d+: slices\.greeter\.instances: /);
  await edit(join(project, "hall.yaml"), "instances: some", "instances: 1");
  await says(dev, /^greeter redeployed/);

  const before = await artifacts(api);
  expect(before).toContain("test:words:1.0.0-dev.1");
  expect(await dev.stop("SIGINT"), dev.transcript()).toEqual({ code: 0, signal: null });
  await expect(fetch(`${api}/livez`)).rejects.toThrow();

  const again = fleet.run([...args, "--dir", join(fleet.directory, "data")]);
  await says(again, /^hall deployed/);
  await eventually("it answers as before", () => answers(api, "hello five?"));
  expect(await artifacts(api)).toEqual(before);
  expect(await again.stop("SIGTERM"), again.transcript()).toEqual({ code: 0, signal: null });
});

test("a slice that cannot start is told, and the version before it goes on", async () => {
  const fleet = await NodeFleet.open();
  const project = join(fleet.directory, "hall");
  for (const [file, text] of Object.entries(FILES)) await save(join(project, file), text);
  const peer = await findTestPorts(2);
  const api = `http://127.0.0.1:${peer + 1}`;
  const dev = fleet.run(["dev", "hall", "--nodes", "1", "--dir", join(fleet.directory, "data"),
    "--peer-port", String(peer), "--api-port", String(peer + 1)]);
  await says(dev, /^hall deployed/);
  const slice = join(project, "words/slice.ts");
  await edit(slice, "contract: words,", 'contract: words, start: () => { throw new RangeError("not today"); },');
  await complains(dev, /^words: test:words:1\.0\.0-dev\.2 does not start on n1: .*not today/);
  expect(await answers(api, "hello one")).toBe(true);
  await edit(slice, '"hello"', '"good morning"');
  await edit(slice, 'start: () => { throw new RangeError("not today"); },', "");
  await says(dev, /^words redeployed/);
  await eventually("it answers", () => answers(api, "good morning one"));
  expect(await dev.stop("SIGINT"), dev.transcript()).toEqual({ code: 0, signal: null });
});

test("the shop of the examples is developed on three nodes, its routes and mutual calls included", async () => {
  const fleet = await NodeFleet.open();
  const project = join(fleet.directory, "shop");
  await cp(SHOP, project, { recursive: true });
  const peer = await findTestPorts(6);
  const api = `http://127.0.0.1:${peer + 3}`;
  const dev = fleet.run(["dev", "shop", "--dir", join(fleet.directory, "data"),
    "--peer-port", String(peer), "--api-port", String(peer + 3)]);
  await says(dev, /^shop deployed \(orders, pricing, inventory, notifications\) in \d+ ms$/);
  const preview = (): Promise<unknown> => ask(`${api}/shop/prices/chair`).then(({ body }) => body);
  await eventually("a price", async () => {
    expect(await preview()).toMatchObject({ currency: "EUR" });
    return true;
  });
  await edit(join(project, "shop.yaml"), "currency: EUR", "currency: SEK");
  await says(dev, /^orders redeployed in \d+ ms$/);
  await eventually("the new config", async () => {
    expect(await preview()).toMatchObject({ currency: "SEK" });
    return true;
  });
  const slice = join(project, "orders/slice.ts");
  for (const round of [1, 2, 3]) {
    await save(slice, `${await readFile(slice, "utf8")}console.log("round ${round}");\n`);
    process.stdout.write(`aether dev of the shop: ${await says(dev, /^orders redeployed in \d+ ms$/)}\n`);
  }
  expect(await dev.stop("SIGINT"), dev.transcript()).toEqual({ code: 0, signal: null });
});

test("a directory without a blueprint is refused before anything is started", async () => {
  const fleet = await NodeFleet.open();
  await mkdir(join(fleet.directory, "nothing"));
  for (const [directory, message] of [["nothing", /has no blueprint/], ["none", /^E_NOT_FOUND: /]] as const) {
    const dev = fleet.run(["dev", directory]);
    expect((await dev.waitForEnd()).code).not.toBe(0);
    expect(dev.complaints.join("\n")).toMatch(message);
  }
});

async function save(path: string, text: string, how: "write" | "rename" = "write"): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  if (how === "write") return writeFile(path, text);
  await writeFile(`${path}~`, text);
  await rename(`${path}~`, path);
}

async function edit(path: string, from: string | RegExp, to: string, how: "write" | "rename" = "write"): Promise<void> {
  const text = await readFile(path, "utf8");
  expect(text).toMatch(from);
  await save(path, text.replace(from, to), how);
}

/** Lines that were taken note of, by process and stream. */
const heard = new WeakMap<readonly string[], number>();

/** The next line of a stream that matches. */
async function next(dev: AetherProcess, lines: readonly string[], expected: RegExp): Promise<string> {
  return eventually(`a line like ${String(expected)}`, () => {
    if (!dev.isRunning) throw new Error(`it has ended: ${dev.transcript()}`);
    const from = heard.get(lines) ?? 0;
    const at = lines.findIndex((line, index) => index >= from && expected.test(line));
    if (at < 0) return undefined;
    heard.set(lines, at + 1);
    return lines[at];
  });
}

function says(dev: AetherProcess, expected: RegExp): Promise<string> {
  return next(dev, dev.stdout, expected);
}

function complains(dev: AetherProcess, expected: RegExp): Promise<string> {
  return next(dev, dev.stderr, expected);
}

async function greet(api: string): Promise<{ readonly status: number; readonly body: unknown }> {
  return ask(`${api}/v1/call/greeter/greet`, { method: "POST", body: {} });
}

async function answers(api: string, expected: string): Promise<true | undefined> {
  const { body } = await greet(api);
  return body === expected || undefined;
}

async function artifacts(api: string): Promise<readonly string[]> {
  const { body } = await ask(`${api}/v1/artifacts`);
  return listSchema.parse(body).artifacts.map(({ artifact }) => artifact);
}
