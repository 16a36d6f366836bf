import { expect, onTestFinished, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { StoreLoop } from "../../../src/cluster/store-loop.ts";
import { throughOutage, StoreOutage } from "../../../src/cluster/store-outage.ts";
import { SILENT_TELEMETRY } from "../../support/cluster-world.ts";
import { SILENT_LOG } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const NO_QUORUM = new AetherError("E_NO_QUORUM", "alone");

interface Looks {
  readonly clock: ManualClock;
  readonly loop: StoreLoop;
  /** When it looked, in milliseconds from the start. */
  readonly at: number[];
  readonly fatal: unknown[];
}

function open(look: (count: number) => number | undefined): Looks {
  const clock = new ManualClock();
  const startMs = clock.nowMs();
  const at: number[] = [];
  const fatal: unknown[] = [];
  const loop = new StoreLoop({ clock, telemetry: SILENT_TELEMETRY }, "test", {
    look: async () => {
      at.push(clock.nowMs() - startMs);
      return look(at.length);
    },
    onFatal: (error) => fatal.push(error),
  });
  onTestFinished(() => loop.close());
  loop.start();
  return { clock, loop, at, fatal };
}

test("it looks at once, after the time that a look said, and when it is told to", async () => {
  const { clock, loop, at } = open((count) => count < 3 ? 50 : undefined);
  await clock.advance(200);
  expect(at).toEqual([0, 50, 100]);
  loop.notify();
  await clock.advance(200);
  expect(at).toEqual([0, 50, 100, 200]);
});

test("while the store is away it tries with growing pauses, whatever notices come", async () => {
  const { clock, loop, at } = open((count) => {
    if (count <= 3) throw NO_QUORUM;
    return undefined;
  });
  for (let ms = 0; ms < 700; ms += 10) {
    loop.notify();
    await clock.advance(10);
  }
  // One look for all the notices that came while it paused.
  expect(at).toEqual([0, 100, 300, 700, 700]);
});

test("what does not pass by itself ends it and is told", async () => {
  const bug = new AetherError("E_INTERNAL", "a bug");
  const { clock, loop, at, fatal } = open(() => {
    throw bug;
  });
  await clock.advance(10);
  loop.notify();
  await clock.advance(1_000);
  expect(at).toEqual([0]);
  expect(fatal).toEqual([bug]);
});

test("work is done again until the store lets it, and not after its signal aborted", async () => {
  const clock = new ManualClock();
  const controller = new AbortController();
  let tries = 0;
  const work = async (): Promise<string> => {
    if (++tries < 3) throw NO_QUORUM;
    return "done";
  };
  const outage = new StoreOutage(SILENT_LOG, "test");
  const done = throughOutage(clock, outage, work, controller.signal);
  await clock.advance(300);
  expect(await done).toBe("done");
  tries = 0;
  const given = throughOutage(clock, outage, work, controller.signal);
  const expected = expect(given).rejects.toMatchObject({ message: "closing" });
  await clock.advance(50);
  controller.abort(new AetherError("E_UNAVAILABLE", "closing"));
  await clock.advance(1_000);
  await expected;
  expect(tries).toBe(1);
});
