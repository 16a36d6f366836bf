import { beforeEach, expect, test } from "vitest";
import fc from "fast-check";
import { parseNodeId } from "../../../src/base/ids.ts";
import { parseCursor } from "../../../src/metrics/events/core/cursor.ts";
import type { ClusterEvent, EventDraft } from "../../../src/metrics/events/core/event.ts";
import { EVENT_AREAS } from "../../../src/metrics/events/core/event-kinds.ts";
import { EVENTS_PER_AREA_MAX } from "../../../src/metrics/events/core/event-log.ts";
import { EventHub, type EventFollowing } from "../../../src/metrics/events/event-hub.ts";

const N1 = parseNodeId("n1");
const N2 = parseNodeId("n2");
const ALL = { limit: 100_000 };
let hub: EventHub;

/** Hears everything, as text; is full when a test says so. */
class Reader {
  readonly heard: string[] = [];
  readonly gaps: string[] = [];
  cursor: string | undefined;
  full = false;
  following: EventFollowing | undefined;

  read(from: EventHub, after?: string): this {
    this.following = from.follow({}, {
      onEvent: (event, cursor, missed) => {
        this.cursor = cursor;
        this.heard.push(missed === 0 ? event.id : `${event.id} after ${missed} missed`);
      },
      onGap: (areas) => void this.gaps.push(areas.join(" ")),
      isFull: () => this.full,
    }, after === undefined ? {} : { after });
    return this;
  }
}

beforeEach(() => {
  hub = new EventHub({ node: N1, incarnation: 1 });
});

function jobStarted(name: string): EventDraft {
  return { kind: "job.started", fields: { job: name, agent: "a" } };
}

/** One event of the store in each of these revisions. */
function happen(to: EventHub, from: number, last = from, draft = jobStarted("j")): void {
  for (let revision = from; revision <= last; revision++) {
    to.add(draft, { kind: "store", revision, index: 0 }, revision);
    to.noteRevision(revision);
  }
}

const suspected: EventDraft = { kind: "node.suspected", fields: { node: "n3", by: "n1" } };
const idsOf = (events: readonly ClusterEvent[]): string[] => events.map(({ id }) => id);

test("a follower hears what comes, and one that goes on later hears what it has not heard (E1)", () => {
  const reader = new Reader().read(hub);
  happen(hub, 5);
  hub.say(suspected, 0);
  expect(reader.heard).toEqual(["5.0", "n1.1.1"]);
  reader.following?.close();
  happen(hub, 6);
  hub.say(suspected, 0);
  expect(new Reader().read(hub, reader.cursor).heard).toEqual(["6.0", "n1.1.2"]);
});

test("a follower that goes on with another node hears no event of the store twice (E1)", () => {
  const other = new EventHub({ node: N2, incarnation: 1 });
  const reader = new Reader().read(hub);
  happen(hub, 5, 7);
  hub.say(suspected, 0);
  happen(other, 5, 9);
  other.say(suspected, 0);
  expect(new Reader().read(other, reader.cursor).heard).toEqual(["8.0", "9.0", "n2.1.1"]);
});

test("who is cut off while it is told what is held goes on there (E1)", () => {
  happen(hub, 1, 4);
  const cut = new Reader();
  let left = 2;
  hub.follow({ sinceMs: 0 }, {
    onEvent: (event, cursor) => {
      cut.cursor = cursor;
      cut.heard.push(event.id);
    },
    onGap: () => undefined,
    isFull: () => left-- === 0,
  }).close();
  expect(cut.heard).toEqual(["1.0", "2.0"]);
  expect(new Reader().read(hub, cut.cursor).heard).toEqual(["3.0", "4.0"]);
});

test("however often readers are cut off and on which node they go on, each hears the same (E1)", () => {
  const cuts = fc.array(fc.record({ revisions: fc.integer({ min: 0, max: 5 }), node: fc.integer({ min: 0, max: 1 }) }));
  fc.assert(fc.property(cuts, (parts) => {
    const nodes = [new EventHub({ node: N1, incarnation: 1 }), new EventHub({ node: N2, incarnation: 1 })];
    const heard: string[] = [];
    let cursor = nodes[0]?.cursor();
    let revision = 0;
    for (const { revisions, node } of parts) {
      for (const one of nodes) happen(one, revision + 1, revision + revisions);
      revision += revisions;
      const from = nodes[node];
      if (from === undefined) continue;
      const reader = new Reader().read(from, cursor);
      reader.following?.close();
      heard.push(...reader.heard);
      cursor = reader.cursor ?? cursor;
    }
    const reader = new Reader().read(nodes[0] ?? hub, cursor);
    expect([...heard, ...reader.heard]).toEqual(Array.from({ length: revision }, (_, at) => `${at + 1}.0`));
  }));
});

test("a burst in one area pushes nothing of another out (E2)", () => {
  hub.say(suspected, 0);
  happen(hub, 1, 10_000);
  const { events } = hub.list({}, ALL);
  expect(events).toHaveLength(EVENTS_PER_AREA_MAX + 1);
  expect(idsOf(events).slice(0, 2)).toEqual(["n1.1.1", "9001.0"]);
});

test("who comes back too late is told of which areas something may be missing", () => {
  const early = hub.cursor();
  happen(hub, 1, EVENTS_PER_AREA_MAX + 1);
  const reader = new Reader().read(hub, early);
  expect(reader.gaps).toEqual(["job"]);
  expect(reader.heard[0]).toBe("2.0");
  expect(hub.list({}, { ...ALL, after: "1.0" }).gaps).toEqual([]);
});

test("who comes back to a node that has not read so far back is told so", () => {
  hub.beginAfter(100);
  happen(hub, 101);
  const reader = new Reader().read(hub, "50.0");
  expect(reader.gaps).toEqual([EVENT_AREAS.join(" ")]);
  expect(reader.heard).toEqual(["101.0"]);
});

test("a follower that does not read holds up nobody, and gets later what is held (E4)", () => {
  const slow = new Reader().read(hub);
  const other = new Reader().read(hub);
  happen(hub, 1);
  slow.full = true;
  happen(hub, 2, 4);
  expect(slow.heard).toEqual(["1.0"]);
  expect(other.heard).toEqual(["1.0", "2.0", "3.0", "4.0"]);
  slow.full = false;
  slow.following?.resume();
  happen(hub, 5);
  expect(slow.heard).toEqual(["1.0", "2.0", "3.0", "4.0", "5.0"]);
});

test("a follower that reads too late is told how many were pushed out (E4)", () => {
  const slow = new Reader().read(hub);
  slow.full = true;
  happen(hub, 1, EVENTS_PER_AREA_MAX + 3);
  hub.say(suspected, 0);
  slow.full = false;
  slow.following?.resume();
  expect(slow.heard.slice(0, 2)).toEqual(["4.0 after 3 missed", "5.0"]);
  expect(slow.heard).toHaveLength(EVENTS_PER_AREA_MAX + 1);
  expect(slow.heard.at(-1)).toBe("n1.1.1");
});

test("a follower that is full while it is told what is held gets the rest later (E4)", () => {
  happen(hub, 1, 3);
  const slow = new Reader();
  slow.full = true;
  slow.read(hub, "1.0");
  expect(slow.heard).toEqual([]);
  happen(hub, 4);
  slow.full = false;
  slow.following?.resume();
  expect(slow.heard).toEqual(["2.0", "3.0", "4.0"]);
});

test("filters leave out what is not wanted, and count nothing of it as missed", () => {
  happen(hub, 1);
  hub.add({ kind: "node.gone", fields: { node: "n2" } }, { kind: "store", revision: 2, index: 0 }, 20);
  hub.say({ kind: "quorum.lost", fields: { by: "n1", have: 1, need: 2 } }, 30);
  const found = (filter: Parameters<EventHub["list"]>[0]): string[] => idsOf(hub.list(filter, ALL).events);
  expect(found({ severity: "warning" })).toEqual(["2.0", "n1.1.1"]);
  expect(found({ areas: new Set(["job"]) })).toEqual(["1.0"]);
  expect(found({ kinds: new Set(["node.gone", "quorum.lost"]), sinceMs: 25 })).toEqual(["n1.1.1"]);
  expect(found({ subject: "node/n2" })).toEqual(["2.0"]);
  expect(found({ subject: "n2" })).toEqual(["2.0"]);
});

test("a text without end is cut", () => {
  hub.add(jobStarted("x".repeat(5_000)), { kind: "store", revision: 1, index: 0 }, 0);
  expect(JSON.stringify(hub.list({}, ALL).events).length).toBeLessThan(2_500);
});

test.each(["", "x", "1", "1.2.3", "1.0~", "1.0~N1.1.1", "-1.0", `1.0${"~n1.1.1".repeat(1_000)}`])(
  "%j is no place among events", (text) => {
    expect(() => parseCursor(text)).toThrow(expect.objectContaining({ code: "E_INVALID" }));
  },
);
