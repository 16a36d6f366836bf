// Webhooks that are told of alerts: whatever their other sides do, and whoever leads.
import { expect, test } from "vitest";
import { AlertNotices } from "../../../src/alerts/alert-notices.ts";
import { AlertsConfig } from "../../../src/alerts/alerts-config.ts";
import type { AlertName } from "../../../src/alerts/core/alert-rules.ts";
import type { NoticeRequest } from "../../../src/jobs/webhooks/notice-sender.ts";
import { wordOf, wordToWire } from "../../../src/metrics/core/leader-word.ts";
import { SILENT_TELEMETRY } from "../../support/cluster-world.ts";
import { ManualClock } from "../../support/manual-clock.ts";

type Answer = (request: NoticeRequest) => Promise<{ readonly status: number }>;

const { webhooks } = AlertsConfig.parse({
  webhooks: [
    { name: "desk", url: "http://desk.test/", secret: "key" },
    { name: "pager", url: "http://pager.test/", secret: "key", severity: "error" },
  ],
});
const clock = new ManualClock();

class Node {
  readonly requests: NoticeRequest[] = [];
  readonly notices: AlertNotices;

  constructor(answer: Answer) {
    const sender = {
      send: (request: NoticeRequest) => {
        this.requests.push(request);
        return answer(request);
      },
    };
    const onFatal = (error: unknown): void => {
      throw error;
    };
    this.notices = new AlertNotices(
      { clock, telemetry: SILENT_TELEMETRY }, { sender, secrets: { key: "a key of eighteen" }, onFatal }, webhooks,
    );
  }

  fire(rule: AlertName, subject = "node/n3"): void {
    const mark = { rule, subject, phase: "firing", heldMs: 0, unknownMs: 0, sinceMs: 5, value: 1 } as const;
    this.notices.add({ kind: "fired", mark });
  }

  /** Seconds, with a look in each. */
  async pass(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second++) {
      this.notices.send();
      await clock.advance(1_000);
    }
  }

  idsTo(host: string): readonly unknown[] {
    return this.requests.filter(({ url }) => url.includes(host)).map(({ headers }) => headers["idempotency-key"]);
  }

  state(name: string) {
    return this.notices.states().find((one) => one.name === name);
  }
}

const answer = (status: number): Answer => () => Promise.resolve({ status });

test("each webhook is told once of what it wants to know, signed", async () => {
  const node = new Node(answer(204));
  node.fire("node-missing");
  node.fire("clock-off");
  await node.pass(3);
  expect(node.idsTo("desk")).toEqual(["fired/node-missing/node/n3/5", "fired/clock-off/node/n3/5"]);
  expect(node.idsTo("pager")).toEqual(["fired/node-missing/node/n3/5"]);
  expect(node.requests[0]?.headers["aether-signature"]).toMatch(/^t=\d+,v1=[0-9a-f]{64}$/);
  expect(JSON.parse(node.requests[0]?.body ?? "")).toMatchObject({
    event: "fired", alert: "node-missing", subject: "node/n3", severity: "error",
  });
  expect(node.state("desk")).toEqual({ name: "desk", waiting: 0, told: 2, failed: 0, givenUp: 0 });
});

test("one that answers 500 is tried again under the same id, and given up at last", async () => {
  const node = new Node(answer(500));
  node.fire("clock-off");
  await node.pass(5);
  expect(node.state("desk")).toMatchObject({ waiting: 1, failed: 2, problem: "it answered 500" });
  await node.pass(400);
  expect(node.idsTo("desk")).toEqual(Array.from({ length: 5 }, () => "fired/clock-off/node/n3/5"));
  expect(node.state("desk")).toMatchObject({ waiting: 0, failed: 4, givenUp: 1 });
});

test("one that never answers holds up nobody, has few requests and bounded places (L5)", async () => {
  const node = new Node(({ url }) => url.includes("desk") ? new Promise(() => undefined) : answer(200)({} as never));
  for (let at = 0; at < 60; at++) node.fire("node-missing", `node/m${at}`);
  await node.pass(20);
  expect(node.idsTo("pager")).toHaveLength(50);
  expect(node.idsTo("desk")).toHaveLength(4);
  expect(node.state("desk")).toMatchObject({ waiting: 50, givenUp: 10 });
});

test("who leads next tells what was not told yet, under the same id, and nothing that was", async () => {
  const first = new Node(({ url }) => answer(url.includes("desk") ? 500 : 200)({} as never));
  first.fire("node-missing");
  await first.pass(2);
  const word = wordToWire({ alerts: [], said: [], notices: first.notices.waiting() });
  const next = new Node(answer(200));
  next.notices.adopt(wordOf(word).notices);
  await next.pass(2);
  expect(next.idsTo("desk")).toEqual(["fired/node-missing/node/n3/5"]);
  expect(next.idsTo("pager")).toEqual([]);
});
