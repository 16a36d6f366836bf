// Events that the leader says: the same on every node, each once, over a change of the leader.
import { expect, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { wordOf, wordToWire } from "../../../src/metrics/core/leader-word.ts";
import type { EventDraft } from "../../../src/metrics/events/core/event.ts";
import { EventHub } from "../../../src/metrics/events/event-hub.ts";
import { LeaderEvents } from "../../../src/metrics/events/leader-events.ts";

class Teller {
  nowMs = 0;
  readonly hub: EventHub;
  readonly events: LeaderEvents;

  constructor(node: string) {
    this.hub = new EventHub({ node: parseNodeId(node), incarnation: 1 });
    this.events = new LeaderEvents({ nowMs: () => this.nowMs, wallMs: () => this.nowMs }, this.hub);
  }

  /** As it goes over the network. */
  hear(from: Teller): void {
    this.events.hear(wordOf(wordToWire({ alerts: [], said: from.events.newest(), notices: [] })).said);
  }

  get ids(): readonly string[] {
    return this.hub.list({}, { limit: 100 }).events.map(({ id, text }) => `${id} ${text}`);
  }
}

function cleared(subject: string): EventDraft {
  return { kind: "alert.cleared", fields: { alert: "node-missing", subject } };
}

test("what a leader says is heard on every node with the same id, however often it is sent", () => {
  const [leader, other] = [new Teller("n1"), new Teller("n2")];
  leader.events.say(cleared("node/a"), 7);
  leader.events.say(cleared("node/b"), 7);
  other.hear(leader);
  other.hear(leader);
  expect(other.ids).toEqual(["@7.1 node-missing of node/a is over", "@7.2 node-missing of node/b is over"]);
  expect(other.ids).toEqual(leader.ids);
});

test("who leads next sends on what it heard, and numbers its own after it", () => {
  const [first, second, third] = [new Teller("n1"), new Teller("n2"), new Teller("n3")];
  first.events.say(cleared("node/a"), 7);
  second.hear(first);
  second.events.say(cleared("node/b"), 8);
  third.hear(second);
  expect(third.ids).toEqual(["@7.1 node-missing of node/a is over", "@8.1 node-missing of node/b is over"]);
  // One that does not know yet that it leads no more.
  first.events.say(cleared("node/c"), 7);
  third.hear(first);
  expect(third.ids).toHaveLength(2);
});

test("who goes on with a place on another node gets what a leader said once (E1)", () => {
  const [leader, other] = [new Teller("n1"), new Teller("n2")];
  leader.events.say(cleared("node/a"), 7);
  other.hear(leader);
  const { cursor } = leader.hub.list({}, { limit: 100 });
  leader.events.say(cleared("node/b"), 7);
  other.hear(leader);
  const after = other.hub.list({}, { after: cursor, limit: 100 });
  expect(after).toMatchObject({ events: [{ id: "@7.2" }], gaps: [] });
});

test("an event is sent for ten seconds and then no more: who was away for longer has the alerts that stand", () => {
  const leader = new Teller("n1");
  leader.events.say(cleared("node/a"), 7);
  leader.nowMs = 10_000;
  expect(leader.events.newest()).toHaveLength(1);
  leader.nowMs = 10_001;
  expect(leader.events.newest()).toEqual([]);
});

test("events of kinds that this build does not know are left out, and the others are heard", () => {
  const said = [[7, 1, 0, "moon.landed", {}], [7, 2, 0, "alert.cleared", { alert: "a", subject: "b", more: 1 }]];
  expect(wordOf([[], [...said, [7, 3, 0, "alert.cleared", { alert: 5 }]], [], "of a newer build"]).said).toEqual([
    { epoch: 7, seq: 2, atMs: 0, draft: { kind: "alert.cleared", fields: { alert: "a", subject: "b" } } },
  ]);
});
