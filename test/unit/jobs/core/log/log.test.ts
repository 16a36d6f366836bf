import { describe, expect, test } from "vitest";
import { encode } from "../../../../../src/base/codec.ts";
import type { CallName, JobUid } from "../../../../../src/jobs/core/ids.ts";
import { firstLink } from "../../../../../src/jobs/core/log/chain.ts";
import { encodeEvent, type JobEvent } from "../../../../../src/jobs/core/log/event.ts";
import { appendToLog, numberedEvents, type PlacedPage } from "../../../../../src/jobs/core/log/page.ts";
import { readEvent } from "../../../../../src/jobs/core/log/upcast.ts";
import { verifyLog } from "../../../../../src/jobs/core/log/verify-log.ts";
import { stepDone } from "../../../../support/job-log.ts";

const UID = "0123456789abcdef0123456789abcdef" as JobUid;
const ORIGIN = { atMs: 5, epoch: 2 };

/** A log of pages with so many events each. */
function logOf(...sizes: number[]): { readonly pages: PlacedPage[]; readonly head: { seq: number; link: Uint8Array } } {
  let head = { seq: 0, link: firstLink(UID, 1) };
  const pages = sizes.map((size) => {
    const events = Array.from({ length: size }, (_, index) => stepDone(`s${head.seq + index + 1}`));
    const { page, seq, link } = appendToLog(head, events, ORIGIN);
    const placed = { run: 1, seq: head.seq + 1, page };
    head = { seq, link };
    return placed;
  });
  return { pages, head };
}

describe("events", () => {
  test("come back as they were written, also those without a value", () => {
    const events: JobEvent[] = [
      stepDone("a", { nested: [1, null, "x"], bytes: new Uint8Array([1, 2]) }),
      stepDone("b", undefined),
      { type: "step.failed", call: "/a#1" as CallName, error: { name: "Error", message: "no" } },
      { type: "job.waiting", reason: "signal", on: ["signal:go"] },
    ];
    for (const event of events) {
      expect(readEvent(encodeEvent(event, ORIGIN))).toEqual({ event, atMs: 5, epoch: 2, version: 1 });
    }
  });

  test.each([
    ["a field is missing", encode([1, 16, 5, 1, { value: 1 }])],
    ["a field has another type", encode([1, 33, 5, 1, { call: 7 }])],
    ["a list has something else", encode([1, 3, 5, 1, { reason: "signal", on: ["a", 1] }])],
    ["there is no such version", encode([0, 33, 5, 1, { call: "/a#1" }])],
    ["it is no list", encode({})],
  ])("are refused when %s", (_, bytes) => {
    expect(() => readEvent(bytes)).toThrow(expect.objectContaining({ code: "E_DATA_CORRUPT" }));
  });

  test("of a later version wait for nodes that know it", () => {
    expect(() => readEvent(encode([3, 33, 5, 1, { call: "/a#1" }]))).toThrow(
      expect.objectContaining({ code: "E_VERSION" }),
    );
  });
});

describe("a log", () => {
  test("is whole as it was appended (JOB7)", () => {
    const { pages, head } = logOf(2, 1, 3);
    expect(verifyLog({ uid: UID, run: 1, head }, pages)).toEqual({ kind: "whole" });
    expect(pages.flatMap(numberedEvents).map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(pages.flatMap(numberedEvents).at(-1)?.link).toBe(Buffer.from(head.link).toString("hex"));
  });

  test("of another job or run is not this one's", () => {
    const { pages, head } = logOf(1, 1);
    const other = "f".repeat(32) as JobUid;
    expect(verifyLog({ uid: other, run: 1, head }, pages)).toMatchObject({ kind: "broken", seq: 1 });
    expect(verifyLog({ uid: UID, run: 2, head }, pages)).toMatchObject({ kind: "broken", seq: 1 });
  });

  const broken: readonly (readonly [string, number, (pages: PlacedPage[]) => PlacedPage[]])[] = [
    ["a changed byte", 3, (pages) => changed(pages, 1, ([first, ...rest]) => [flipped(first), ...rest])],
    ["an event that was taken out", 3, (pages) => changed(pages, 1, ([, ...rest]) => rest)],
    ["an event that was put in", 3, (pages) => changed(pages, 1, (events) => [...events, ...events.slice(0, 1)])],
    ["two events that changed places", 3, (pages) => changed(pages, 1, ([a, b, ...rest]) => [b, a, ...rest])],
    ["a page that is missing", 1, (pages) => pages.filter((_, index) => index !== 1)],
    ["the last page missing", 3, (pages) => pages.slice(0, -1)],
    ["a page too many", 6, (pages) => [...pages, { run: 1, seq: 8, page: present(pages[0]).page }]],
    ["a changed last event", 6, (pages) => changed(pages, 2, ([first, ...rest]) => [flipped(first), ...rest])],
  ];
  test.each(broken)("with %s names where it begins to be another", (_, seq, change) => {
    const { pages, head } = logOf(2, 3, 2);
    expect(verifyLog({ uid: UID, run: 1, head }, change(pages))).toMatchObject({ kind: "broken", seq });
  });
});

function changed(
  pages: readonly PlacedPage[],
  at: number,
  change: (events: readonly (Uint8Array | undefined)[]) => readonly (Uint8Array | undefined)[],
): PlacedPage[] {
  return pages.map((placed, index) => {
    if (index !== at) return placed;
    return { ...placed, page: { ...placed.page, events: change(placed.page.events).map(present) } };
  });
}

function flipped(bytes: Uint8Array | undefined): Uint8Array {
  const copy = Uint8Array.from(present(bytes));
  copy.set([present(copy.at(-1)) ^ 1], copy.length - 1);
  return copy;
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new RangeError("it is there");
  return value;
}
