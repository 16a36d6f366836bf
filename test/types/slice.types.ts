// Owns: what must and must not compile for people who write slices. Never executed: `tsc` is the test.
import { z } from "zod";
import {
  defineAgent, defineBlueprint, defineContract, defineSignal, defineSlice, defineTopic, method, type CallContext,
  type Client,
} from "../../src/sdk/index.ts";

const pricing = defineContract("pricing", {
  quote: method({ input: z.object({ sku: z.string() }), output: z.object({ cents: z.number() }), effect: "read" }),
});
const orders = defineContract("orders", {
  place: method({
    input: z.object({ sku: z.string(), quantity: z.number().default(1) }),
    output: z.object({ id: z.string(), placedAt: z.string().default("now"), cents: z.number() }),
  }),
  count: method({ input: z.void(), output: z.number(), effect: "read", timeoutMs: 2_000 }),
});

const audit = defineAgent({
  name: "audit", input: z.object({ order: z.string() }), output: z.void(), run: () => undefined,
});
const documents = defineSignal("documents", z.object({ url: z.string() }));

// Mutual calls: each slice knows the other's contract, so nothing is inferred in a circle.
export const ordersSlice = defineSlice({
  contract: orders,
  uses: { pricing },
  config: z.object({ currency: z.string(), taxRate: z.number().default(0.2) }),
  start: async (ctx) => {
    ctx.log.info("started", { currency: ctx.config.currency });
    await ctx.uses.pricing.quote({ sku: "a" });
  },
  methods: {
    place: async (input, ctx) => {
      // Output side of the input schema: the default has been filled in.
      const quantity: number = input.quantity;
      const options = { timeoutMs: ctx.remainingMs(), signal: ctx.signal };
      const quote = await ctx.uses.pricing.quote({ sku: input.sku }, options);
      const taxRate: number = ctx.config.taxRate;
      const started = await ctx.agents.start(audit, { order: "o-1" }, { id: "audit-1", priority: 2 });
      await ctx.agents.signal(started.id, documents, { url: "http://localhost" });
      await ctx.agents.start("audit", { order: "o-1" });
      // @ts-expect-error what the agent takes is known
      await ctx.agents.start(audit, { order: 1 });
      // @ts-expect-error what the signal carries is known
      await ctx.agents.signal(started.id, documents, { url: 1 });
      // Input side of the output schema: `placedAt` may be left out.
      return { id: ctx.config.currency, cents: quote.cents * quantity * taxRate };
    },
    count: () => 1,
  },
});

export const pricingSlice = defineSlice({
  contract: pricing,
  uses: { orders },
  methods: {
    quote: async (_input, ctx) => {
      const placed = await ctx.uses.orders.place({ sku: "a" });
      const at: string = placed.placedAt;
      return { cents: (await ctx.uses.orders.count()) + at.length };
    },
  },
});

// Handlers can be written apart from the slice.
type PricingContext = CallContext<{ orders: typeof orders }, { rounding: number }>;
export const quoteApart = async (input: { sku: string }, ctx: PricingContext): Promise<{ cents: number }> =>
  ({ cents: ctx.config.rounding + input.sku.length });

const payments = defineContract("payments", {
  pay: method({
    input: z.object({ cents: z.int() }),
    output: z.discriminatedUnion("status", [
      z.object({ status: z.literal("paid"), receipt: z.string() }),
      z.object({ status: z.literal("declined") }),
    ]),
  }),
});

// The answers of a union keep their literals, without `as const`.
export const paymentsSlice = defineSlice({
  contract: payments,
  methods: { pay: async ({ cents }) => (cents > 100 ? { status: "declined" } : { status: "paid", receipt: "r" }) },
});

export const name: "orders" = ordersSlice.contract.name;

export async function call(client: Client<typeof orders>): Promise<number> {
  const placed = await client.place({ sku: "a" }, { idempotencyKey: "k" });
  // @ts-expect-error wrong input
  await client.place({ sku: 1 });
  // @ts-expect-error unknown method
  await client.nope({});
  // @ts-expect-error a timeout is a number of milliseconds
  await client.count(undefined, { timeoutMs: "2s" });
  // @ts-expect-error the output has no such field
  void placed.total;
  return placed.cents;
}

// @ts-expect-error an output schema is required
export const noOutput = method({ input: z.string() });

// @ts-expect-error not an effect
export const badEffect = method({ input: z.string(), output: z.string(), effect: "once" });

export const missingHandler = defineSlice({
  contract: orders,
  // @ts-expect-error `count` has no handler
  methods: { place: () => ({ id: "1", cents: 1 }) },
});

export const wrongAnswer = defineSlice({
  contract: pricing,
  // @ts-expect-error cents is a number
  methods: { quote: async () => ({ cents: "12" }) },
});

export const unusedContract = defineSlice({
  contract: pricing,
  // @ts-expect-error orders is not in `uses`
  methods: { quote: async (_input, ctx) => ({ cents: await ctx.uses.orders.count() }) },
});

export const noConfig = defineSlice({
  contract: pricing,
  // @ts-expect-error the slice declares no config
  methods: { quote: (_input, ctx) => ({ cents: ctx.config.cents }) },
});

export const shop = defineBlueprint({
  name: "shop",
  slices: { orders: { artifact: "demo:orders@^1.0.0", instances: 2, config: { currency: "EUR" } } },
});

// @ts-expect-error a slice of a blueprint names its artifact
defineBlueprint({ name: "shop", slices: { orders: { instances: 2 } } });

// @ts-expect-error not a field of a slice
defineBlueprint({ name: "shop", slices: { orders: { artifact: "demo:orders@1", replicas: 2 } } });

export const routedSlice = defineSlice({
  contract: pricing,
  routes: {
    "GET /prices/:sku": "quote",
    // @ts-expect-error a verb comes first
    "/prices": "quote",
  },
  methods: { quote: () => ({ cents: 1 }) },
});

export const misroutedSlice = defineSlice({
  contract: pricing,
  // @ts-expect-error the contract has no such method
  routes: { "GET /prices": "qoute" },
  methods: { quote: () => ({ cents: 1 }) },
});

export const storingSlice = defineSlice({
  contract: pricing,
  start: async (ctx) => {
    await ctx.kv.put("started", true);
  },
  methods: {
    quote: async (_input, ctx) => {
      const entry = await ctx.kv.get("cents", { consistency: "local" });
      const modRevision: number = entry?.modRevision ?? 0;
      // @ts-expect-error what is stored may be anything: it is to be checked
      const cents: number = entry?.value;
      await ctx.kv.put("cents", cents, { ifRevision: modRevision });
      // @ts-expect-error a key is a text
      await ctx.kv.get(7);
      const lease = await ctx.lease("prices", { ttlMs: 5_000, waitMs: 100 });
      await lease.kv.put("token", lease.token, { signal: lease.signal });
      return { cents };
    },
  },
});

const priced = defineTopic("priced", {
  payload: z.object({ sku: z.string(), cents: z.int(), currency: z.string().default("EUR") }),
  // The parsed payload: the default has been filled in.
  key: ({ sku, currency }) => `${sku}/${currency.length}`,
});

export const publishingSlice = defineSlice({
  contract: orders,
  on: { priced: "place" },
  methods: {
    place: async (_input, ctx) => {
      await ctx.publish(priced, { sku: "a", cents: 1 }, { timeoutMs: 100 });
      // @ts-expect-error cents is a number
      await ctx.publish(priced, { sku: "a", cents: "1" });
      return { id: "1", cents: 1 };
    },
    count: () => 1,
  },
});

export const deafSlice = defineSlice({
  contract: pricing,
  // @ts-expect-error the contract has no such method
  on: { priced: "qoute" },
  methods: { quote: () => ({ cents: 1 }) },
});
