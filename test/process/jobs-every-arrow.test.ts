// Slow. Jobs on real nodes are held at every arrow between their node, their tool and the world outside; then something
// happens to the node, the store or all of it; then they are let through. Whatever it was: a `once` tool has been
// called once, and what the job has recorded is what has happened outside.
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applyAgents } from "./support/fleet-jobs.ts";
import { PaymentStub } from "./support/payment-stub.ts";

const EFFECTS = ["read", "idempotent", "once"] as const;
/** Not granted; granted; past the last check of the fence; sent and not paid; paid; answered; recorded. */
const ARROWS = ["before", "granted", "checked", "paying", "paid", "answered", "recorded"] as const;
const ENDS_MS_MAX = 60_000;
const STARTS_MAX = 10;

const shownSchema = z.object({ owner: z.string().optional(), epoch: z.int() });
const resultSchema = z.object({ result: z.looseObject({
  kind: z.string(), output: z.object({ receipt: z.string() }).optional(),
}) });
const eventsSchema = z.object({
  events: z.array(z.object({ type: z.string(), data: z.looseObject({ call: z.string().optional() }) })),
});

interface Held {
  readonly job: string;
  readonly effect: (typeof EFFECTS)[number];
  readonly arrow: (typeof ARROWS)[number];
}

let fleet: NodeFleet;
let stub: PaymentStub;

beforeAll(async () => {
  stub = await PaymentStub.open();
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "arrows");
});

afterAll(async () => {
  await fleet.close();
  stub.close();
});

/** One job per effect and arrow, each at its arrow, all of them owned by one node. */
async function holdAll(owner: string, fault: string): Promise<readonly Held[]> {
  stub.asked.clear();
  const all: Held[] = [];
  for (const effect of EFFECTS) {
    for (const arrow of ARROWS) {
      all.push({ effect, arrow, job: await heldBy(owner, `${fault}-${effect}-${arrow}`, { effect, arrow }) });
    }
  }
  return all;
}

/** Which node takes a job cannot be said. Those that another one took are let through, and end. */
async function heldBy(owner: string, name: string, { effect, arrow }: Omit<Held, "job">): Promise<string> {
  for (let attempt = 1; attempt <= STARTS_MAX; attempt++) {
    const job = `${name}-${attempt}`;
    stub.shut(job, arrow);
    const body = { agent: "arrows", id: job, input: { url: stub.url, name: job, effect } };
    const { status } = await ask(`${fleet.api(owner)}/v1/jobs`, { method: "POST", body });
    expect(status).toBe(201);
    await eventually(`${job} is at its arrow`, () => stub.isReached(job, arrow) || undefined);
    if ((await shown(owner, job)).owner === owner) return job;
    stub.open(job, arrow);
  }
  throw new Error(`${owner} took none of ${STARTS_MAX} jobs that were started there`);
}

async function shown(via: string, job: string): Promise<z.output<typeof shownSchema>> {
  return shownSchema.parse((await ask(`${fleet.api(via)}/v1/jobs/${job}`)).body);
}

/** What the job has of its call, or how it ended instead. */
async function receiptOf(via: string, job: string): Promise<string> {
  const result = await eventually(`job ${job} has ended`, async () => {
    const { status, body } = await ask(`${fleet.api(via)}/v1/jobs/${job}/result?waitMs=5000`);
    return status === 200 ? resultSchema.parse(body).result : undefined;
  }, ENDS_MS_MAX);
  return result.output?.receipt ?? JSON.stringify(result);
}

/** Every job ends, with what has happened outside, and what must happen once has. */
async function expectRight(via: string, all: readonly Held[]): Promise<void> {
  const wrong: string[] = [];
  await Promise.all(all.map(async ({ job, effect }) => {
    const receipt = await receiptOf(via, job);
    const receipts = stub.receiptsOf(job);
    if (!receipts.includes(receipt)) wrong.push(`${job} recorded ${receipt}, done were ${receipts.join()}`);
    if (effect === "once" && receipts.length !== 1) wrong.push(`${job} was done ${receipts.length} times`);
    if ((stub.effects.get(job)?.size ?? 0) !== 1) wrong.push(`${job} has more than one effect id`);
    const twice = await grantsTwice(via, job);
    wrong.push(...twice.map((seq) => `${job} was granted again at ${seq} before it had an outcome`));
  }));
  expect(wrong).toEqual([]);
}

/** Where the log grants a call whose last grant has no outcome. */
async function grantsTwice(via: string, job: string): Promise<readonly number[]> {
  const { events } = eventsSchema.parse((await ask(`${fleet.api(via)}/v1/jobs/${job}/events`)).body);
  const open = new Set<string>();
  const twice: number[] = [];
  for (const [at, { type, data: { call = "" } }] of events.entries()) {
    if (type === "tool.granted") {
      if (open.has(call)) twice.push(at + 1);
      open.add(call);
    } else if (type.startsWith("tool.")) open.delete(call);
  }
  return twice;
}

async function ready(name: string): Promise<void> {
  await eventually(`${name} is ready`, async () =>
    (await ask(`${fleet.api(name)}/readyz`)).status === 200 || undefined, ENDS_MS_MAX);
}

test("the owner is killed", async () => {
  const all = await holdAll("n1", "killed");
  await fleet.kill("n1");
  stub.openAll();
  await fleet.start("n1");
  await expectRight("n2", all);
});

test("the owner stands still, is fenced, and goes on", async () => {
  const all = await holdAll("n2", "paused");
  fleet.process("n2").signal("SIGSTOP");
  await eventually("others have its jobs", async () => {
    const views = await Promise.all(all.map(({ job }) => shown("n1", job)));
    return views.every(({ owner, epoch }) => owner !== "n2" && epoch > 1) || undefined;
  });
  // What was past its last check of the fence is let through while its node stands still, and sends when that goes on.
  stub.openAll();
  const checked = all.find(({ effect, arrow }) => effect === "once" && arrow === "checked")?.job ?? "";
  await eventually("it was asked what became of each call", () => stub.asked.size >= ARROWS.length - 2 || undefined);
  expect(stub.receiptsOf(checked)).toEqual([]);
  fleet.process("n2").signal("SIGCONT");
  await expectRight("n3", all);
  await ready("n2");
});

test("the store is away: the owner has no majority", async () => {
  const all = await holdAll("n3", "alone");
  for (const name of ["n1", "n2"]) fleet.process(name).signal("SIGSTOP");
  stub.openAll();
  await eventually("the owner sees no majority", async () =>
    (await ask(`${fleet.api("n3")}/readyz`)).status === 503 || undefined);
  for (const name of ["n1", "n2"]) fleet.process(name).signal("SIGCONT");
  await expectRight("n3", all);
  for (const name of fleet.names) await ready(name);
});

test("all nodes are killed and started again", async () => {
  const all = await holdAll("n1", "all");
  await fleet.kill(...fleet.names);
  stub.openAll();
  await fleet.startAll();
  await expectRight("n2", all);
});
