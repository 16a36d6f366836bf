// Owns: requests to webhooks over HTTP. Redirects are answers like any other: where an answer points to nobody has
// allowed. What the other side says in its body is not read.
import type { NoticeSender } from "./notice-sender.ts";

export function createNoticeSender(): NoticeSender {
  return {
    send: async ({ url, headers, body, timeoutMs }, signal) => {
      const response = await fetch(url, {
        method: "POST",
        headers,
        body,
        redirect: "manual",
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      });
      await response.body?.cancel();
      return { status: response.status };
    },
  };
}
