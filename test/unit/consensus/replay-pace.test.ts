import { beforeEach, expect, test } from "vitest";
import { ReplayPace } from "../../../src/consensus/replay-pace.ts";
import type { Log, LogFields } from "../../../src/env/telemetry.ts";
import { ManualClock } from "../../support/manual-clock.ts";

let clock: ManualClock;
let lines: LogFields[];
let told: (readonly [number, number])[];
let cancel: AbortController;
let pace: ReplayPace;

beforeEach(() => {
  clock = new ManualClock();
  lines = [];
  told = [];
  cancel = new AbortController();
  const note = (fields: LogFields): void => void lines.push(fields);
  const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };
  const starting = {
    signal: cancel.signal,
    onReplay: (records: number, of: number): void => void told.push([records, of]),
  };
  pace = new ReplayPace({ clock, log, starting }, 1_000);
});

test("records follow each other for some milliseconds, then others have their turn", async () => {
  for (let at = 0; at < 100; at++) expect(pace.pause()).toBeUndefined();
  await clock.advance(10);
  const pausing = pace.pause();
  expect(told).toEqual([[101, 1_000]]);
  await clock.settle();
  await pausing;
  expect(pace.pause()).toBeUndefined();
});

test("the log says how far it is once a second, and when it is done", async () => {
  for (let at = 0; at < 30; at++) {
    await clock.advance(100);
    const pausing = pace.pause();
    await clock.settle();
    await pausing;
  }
  pace.end(77);
  expect(lines).toEqual([
    { event: "consensus.replaying", records: 10, of: 1_000 },
    { event: "consensus.replaying", records: 20, of: 1_000 },
    { event: "consensus.replaying", records: 30, of: 1_000 },
    { event: "consensus.replayed", records: 30, applied: 77, ms: 3_000 },
  ]);
});

test("a start that is cancelled ends at its next pause", async () => {
  await clock.advance(10);
  const pausing = pace.pause();
  cancel.abort();
  const refused = expect(pausing).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
  await clock.settle();
  await refused;
});
