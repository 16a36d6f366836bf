// Owns: one attempt to tell a webhook something: signed, with an id by which its other side knows what it has had.
// Does not own: when it is tried, and what becomes of it.
import type { NoticeSender } from "./notice-sender.ts";
import { signatureOf, type WebhookTarget } from "./webhook.ts";
import { SECOND_MS } from "../../base/units.ts";

/** Of one request. */
export const WEBHOOK_TIMEOUT_MS = 10 * SECOND_MS;

export interface Notification {
  /** The same at every attempt. */
  readonly id: string;
  readonly body: string;
  /** Wall time of this attempt. */
  readonly nowMs: number;
}

export interface NoticeReach {
  readonly sender: NoticeSender;
  /** Values by the names that webhooks have for them. */
  readonly secrets: Readonly<Record<string, string>>;
}

/** Why it was not told; undefined when it was. */
export async function sendNotice(
  { sender, secrets }: NoticeReach, hook: WebhookTarget, { id, body, nowMs }: Notification, signal: AbortSignal,
): Promise<string | undefined> {
  const secret = secrets[hook.secret];
  if (secret === undefined) return `the node that leads has no secret "${hook.secret}"`;
  const headers = {
    "content-type": "application/json",
    "idempotency-key": id,
    "aether-signature": signatureOf(body, secret, nowMs),
  };
  try {
    const { status } = await sender.send({ url: hook.url, headers, body, timeoutMs: WEBHOOK_TIMEOUT_MS }, signal);
    return status >= 200 && status <= 299 ? undefined : `it answered ${status}`;
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : "no answer";
  }
}
