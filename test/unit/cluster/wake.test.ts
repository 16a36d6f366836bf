import { expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { StoreOutage } from "../../../src/cluster/store-outage.ts";
import { Wake } from "../../../src/cluster/wake.ts";
import { SILENT_LOG } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const NEVER = new AbortController().signal;

test("any number of notices before a wait are one", async () => {
  const clock = new ManualClock();
  const wake = new Wake(clock);
  wake.notify();
  wake.notify();
  await wake.wait(NEVER);
  let isAwake = false;
  void wake.wait(NEVER, 100).then(() => (isAwake = true));
  await clock.advance(99);
  expect(isAwake).toBe(false);
  await clock.advance(1);
  expect(isAwake).toBe(true);
});

test("a waiting loop ends with its signal's reason", async () => {
  const controller = new AbortController();
  const waiting = new Wake(new ManualClock()).wait(controller.signal);
  controller.abort(new AetherError("E_UNAVAILABLE", "closing"));
  await expect(waiting).rejects.toMatchObject({ message: "closing" });
});

test("an outage of the store is logged once, waited out with a growing pause, and its end is logged", () => {
  const lines: string[] = [];
  const note = ({ event }: { event: string }): void => void lines.push(event);
  const outage = new StoreOutage({ ...SILENT_LOG, warn: note, info: note }, "test");
  const noQuorum = new AetherError("E_NO_QUORUM", "alone");
  const pauses = Array.from({ length: 7 }, () => outage.noteFailure(noQuorum));
  expect(pauses).toEqual([100, 200, 400, 800, 1_600, 2_000, 2_000]);
  outage.noteSuccess();
  outage.noteSuccess();
  expect(lines).toEqual(["cluster.store-unavailable", "cluster.store-available"]);
});

test("a failure that does not pass by itself is no outage", () => {
  const bug = new AetherError("E_INTERNAL", "a bug");
  expect(() => new StoreOutage(SILENT_LOG, "test").noteFailure(bug)).toThrow(bug);
});
