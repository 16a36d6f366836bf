// Owns: what orders promises to its callers: the shop's front door, with a method for everything an order goes through.
import { defineContract, method } from "aether/slice";
import { z } from "zod";
import { sku } from "./article.ts";

export const order = z.object({
  id: z.string(),
  sku,
  quantity: z.int().min(1),
  totalCents: z.int(),
  status: z.enum(["placed", "cancelled", "shipped"]),
});
const wish = z.object({ sku, quantity: z.int().min(1).max(100).default(1) });
/** Made of the answer to `place`; plain enough for a key and for a path. */
const id = z.string().regex(/^[a-z0-9-]{1,40}$/);
const found = z.object({ order: order.nullable() });

export const orders = defineContract("orders", {
  /** What an order would cost now. */
  preview: method({
    input: wish, output: z.object({ totalCents: z.int(), currency: z.string() }), effect: "read",
  }),
  /** A write: give it an idempotency key, and it may be sent again when its answer is lost. */
  place: method({
    input: wish,
    output: z.discriminatedUnion("status", [
      z.object({ status: z.literal("placed"), id: z.string(), totalCents: z.int(), currency: z.string() }),
      z.object({ status: z.literal("out-of-stock"), available: z.int().min(0) }),
    ]),
  }),
  show: method({ input: z.object({ id }), output: found, effect: "read" }),
  list: method({
    input: z.object({ limit: z.int().min(1).max(100).default(20) }),
    output: z.object({ orders: z.array(order) }),
    effect: "read",
  }),
  /** Gives the goods back. Twice is the same as once. */
  cancel: method({ input: z.object({ id }), output: found, effect: "idempotent" }),
  ship: method({ input: z.object({ id }), output: found, effect: "idempotent" }),
  /** How many orders of an article are open: pricing asks. */
  demand: method({ input: z.object({ sku }), output: z.object({ open: z.int().min(0) }), effect: "read" }),
});
