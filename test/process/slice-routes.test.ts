// Slow. The example shop on three nodes: its HTTP routes, asked on each of them as its README says.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { ask, eventually, NodeFleet, type Answer } from "../support/node-fleet.ts";

const SHOP = fileURLToPath(new URL("../../docs/examples/01-shop/", import.meta.url));
const RIVAL = fileURLToPath(new URL("./slices/rival", import.meta.url));

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  for (const slice of ["inventory", "pricing", "orders"]) await push(`${SHOP}${slice}`);
  expect(await apply("shop", parse(await readFile(`${SHOP}shop.yaml`, "utf8")))).toMatchObject({ status: 200 });
  for (const name of fleet.names) await becomes(name, 200);
});

afterAll(() => fleet.close());

test("every request of the example's README is answered by each node", async () => {
  const requests = await readmeRequests();
  expect(requests).toHaveLength(3);
  for (const name of fleet.names) {
    const answers: unknown[] = [];
    for (const { path, verb, body } of requests) {
      const raw = body === undefined ? {} : { raw: body };
      const answer = await ask(`${fleet.api(name)}${path}`, { method: verb, ...raw });
      expect(answer, `${name} ${path}`).toMatchObject({ status: 200 });
      expect(answer.headers.get("aether-attempts")).toBe("1");
      answers.push(answer.body);
    }
    expect(answers).toMatchObject([
      { totalCents: 3000, currency: "EUR" }, { status: "placed", totalCents: 4900 }, { status: "out-of-stock" },
    ]);
  }
});

test("an error has the status of its class on every node", async () => {
  for (const name of fleet.names) {
    const orders = `${fleet.api(name)}/shop/orders`;
    const cases: [Promise<Answer>, number, string][] = [
      [price(name, "?quantity=many"), 400, "E_INVALID"],
      [price(name, "?quantity=0"), 400, "E_INVALID"],
      [ask(orders, { method: "POST", raw: "{" }), 400, "E_INVALID"],
      [ask(orders, { method: "POST", body: { sku: 1 } }), 400, "E_INVALID"],
      [ask(`${fleet.api(name)}/shop/prices/a%2Fb`), 400, "E_INVALID"],
      [ask(orders), 405, "E_METHOD_NOT_ALLOWED"],
      [ask(`${fleet.api(name)}/shop/nothing`), 404, "E_NOT_FOUND"],
    ];
    for (const [answer, status, code] of cases) {
      expect(await answer, name).toMatchObject({ status, body: { error: { code } } });
    }
    // A write with a key is treated as the same call by name is.
    const keyed = { method: "POST", body: { sku: "lamp" }, headers: { "idempotency-key": `k-${name}` } };
    const { status } = await ask(`${fleet.api(name)}/v1/call/orders/place`, keyed);
    expect(await ask(orders, keyed)).toMatchObject({ status });
  }
});

test("a route that a slice has is refused to another one, and both are named", async () => {
  await push(RIVAL);
  const refused = await apply("rival", { slices: { rival: { artifact: "test:rival@1" } } });
  expect(refused).toMatchObject({ status: 409, body: { error: { code: "E_CONFLICT" } } });
  expect(JSON.stringify(refused.body)).toMatch(/rival.*POST \/shop\/orders.*orders.*shop/);
  expect(await ask(`${fleet.api("n2")}/v1/blueprints/rival`)).toMatchObject({ status: 404 });
});

test("routes are there after the node is killed and started again, and gone with the blueprint", async () => {
  await fleet.kill("n3");
  expect(await price("n1", "?quantity=1")).toMatchObject({ status: 200 });
  await fleet.start("n3");
  await becomes("n3", 200);
  expect(await ask(`${fleet.api("n1")}/v1/blueprints/shop`, { method: "DELETE" })).toMatchObject({ status: 200 });
  for (const name of fleet.names) await becomes(name, 404);
  expect((await ask(`${fleet.api("n2")}/v1/kv?prefix=routes/`)).body).toMatchObject({ entries: [] });
});

interface ReadmeRequest {
  readonly verb: string;
  readonly path: string;
  readonly body: string | undefined;
}

async function readmeRequests(): Promise<readonly ReadmeRequest[]> {
  const readme = await readFile(`${SHOP}README.md`, "utf8");
  const lines = readme.matchAll(/^curl (?:-X (?<verb>[A-Z]+) )?'?http:\/\/[^/]+(?<path>[^' \n]+)'?(?: -d '(?<body>.*)')?$/gm);
  return [...lines].map(({ groups = {} }) =>
    ({ verb: groups["verb"] ?? "GET", path: groups["path"] ?? "", body: groups["body"] }));
}

async function becomes(name: string, status: number): Promise<void> {
  await eventually(`${name} answers ${status}`, async () => {
    expect(await price(name, "?quantity=1")).toMatchObject({ status });
    return true;
  });
}

function price(name: string, query: string): Promise<Answer> {
  return ask(`${fleet.api(name)}/shop/prices/book${query}`);
}

function apply(name: string, document: unknown): Promise<Answer> {
  return ask(`${fleet.api("n1")}/v1/blueprints/${name}`, { method: "PUT", body: document });
}

async function push(directory: string): Promise<void> {
  const command = fleet.run(["--api", fleet.api("n1"), "slice", "push", directory]);
  const { code } = await command.waitForEnd();
  expect(code, command.transcript()).toBe(0);
}
