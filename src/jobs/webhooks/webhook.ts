// Owns: webhooks as a node's configuration names them, and what their requests carry.
// Does not own: what they are told (core/flow/notice.ts), when (webhook-driver.ts).
import { z } from "zod";
import { hmacSha256 } from "../../base/digest.ts";
import { SECOND_MS } from "../../base/units.ts";
import { nameSchema } from "../../sdk/name.ts";
import { NOTICE_EVENTS } from "../core/flow/notice.ts";

/** Each has its place in the transaction with which a job ends: `NOTICES_RESERVED`. */
export const WEBHOOKS_MAX = 16;
const AGENTS_MAX = 100;

/** Where something is told, whatever it is. */
export const webhookTarget = {
  name: nameSchema,
  url: z.url({ protocol: /^https?$/, error: "use an address with http: or https:" })
    .refine((url) => {
      const { username, password } = new URL(url);
      return username === "" && password === "";
    }, "leave user and password out: requests are signed"),
  secret: nameSchema,
};
export type WebhookTarget = z.output<z.ZodObject<typeof webhookTarget>>;

export const webhookSchema = z.strictObject({
  ...webhookTarget,
  events: z.array(z.enum(NOTICE_EVENTS)).min(1).default([...NOTICE_EVENTS]),
  agents: z.array(nameSchema).min(1).max(AGENTS_MAX).exactOptional(),
});
export type Webhook = z.output<typeof webhookSchema>;

export const webhooksSchema = z.array(webhookSchema).max(WEBHOOKS_MAX).refine(...haveOwnNames());

/** `t=SECONDS,v1=HEX`, with the HMAC-SHA256 of `SECONDS.BODY`: an old request cannot pass for a new one. */
export function signatureOf(body: string, secret: string, nowMs: number): string {
  const seconds = Math.floor(nowMs / SECOND_MS);
  return `t=${seconds},v1=${Buffer.from(hmacSha256(secret, `${seconds}.${body}`)).toString("hex")}`;
}

/** For lists of webhooks. */
export function haveOwnNames(): [(all: readonly { readonly name: string }[]) => boolean, string] {
  return [(all) => new Set(all.map(({ name }) => name)).size === all.length, "two webhooks have one name"];
}
