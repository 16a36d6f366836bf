// Requests to webhooks, against a real receiver that answers, hangs, breaks off, and points elsewhere.
import { createHmac } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { expect, onTestFinished, test } from "vitest";
import { createNoticeSender } from "../../src/jobs/webhooks/notice-sender-adapter.ts";
import { signatureOf, webhookSchema } from "../../src/jobs/webhooks/webhook.ts";
import { openWebServer } from "../support/web-server.ts";

const BODY = JSON.stringify({ event: "ended", job: "claim-17" });
const sender = createNoticeSender();

interface Received {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

async function openReceiver(): Promise<{ readonly url: string; readonly received: Received[] }> {
  const received: Received[] = [];
  const server = await openWebServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text)).on("end", () => {
      received.push({ path: request.url ?? "", headers: request.headers, body });
      answer(request, response);
    });
  });
  onTestFinished(() => server.close());
  return { url: server.url, received };
}

function answer({ url = "" }: IncomingMessage, response: ServerResponse): void {
  if (url === "/hang") return;
  if (url === "/cut") return void response.socket?.destroy();
  if (url === "/endless") return void response.writeHead(200).write("x".repeat(1_000));
  if (url === "/elsewhere") return void response.writeHead(302, { location: "/found" }).end();
  response.statusCode = Number(url.slice(1));
  response.end("what it says");
}

async function send(url: string, timeoutMs = 5_000): Promise<number> {
  const headers = { "content-type": "application/json", "idempotency-key": "k" };
  return (await sender.send({ url, headers, body: BODY, timeoutMs }, new AbortController().signal)).status;
}

test("an answer is its status, whatever follows, and no redirect is followed", async () => {
  const { url, received } = await openReceiver();
  for (const status of [200, 204, 404, 500]) expect(await send(`${url}/${status}`)).toBe(status);
  expect(await send(`${url}/elsewhere`)).toBe(302);
  expect(await send(`${url}/endless`)).toBe(200);
  expect(received.map(({ path }) => path)).toEqual(["/200", "/204", "/404", "/500", "/elsewhere", "/endless"]);
  expect(received[0]).toMatchObject({ headers: { "idempotency-key": "k" }, body: BODY });
});

test("who hangs, breaks off, or is not there is an error", async () => {
  const { url } = await openReceiver();
  await expect(send(`${url}/hang`, 100)).rejects.toThrow(/timeout/);
  await expect(send(`${url}/cut`)).rejects.toThrow();
  await expect(send("http://127.0.0.1:1/")).rejects.toThrow();
});

test("a signature is one that any program can check", () => {
  const [, seconds = "", hex = ""] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(signatureOf(BODY, "key", 1_700_000_000_999)) ?? [];
  expect(seconds).toBe("1700000000");
  expect(hex).toBe(createHmac("sha256", "key").update(`${seconds}.${BODY}`).digest("hex"));
});

test.each([
  ["file:///etc/passwd", "http: or https:"],
  ["https://ann:secret@desk.example/", "user and password"],
])("%s is no address of a webhook", (url, reason) => {
  const parsed = webhookSchema.safeParse({ name: "desk", url, secret: "key" });
  expect(parsed.error?.issues.map(({ message }) => message).join()).toContain(reason);
});
