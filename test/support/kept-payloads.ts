// Owns: where doors of jobs under test keep what they are told of many KiB: the real store's side of it.
import { GiB } from "../../src/base/units.ts";
import { JobPayloads } from "../../src/jobs/doors/job-payloads.ts";
import { PayloadRoom } from "../../src/jobs/payloads/payload-room.ts";
import { PayloadStore } from "../../src/jobs/payloads/payload-store.ts";
import type { Kv, StoreUsage } from "../../src/kvstore/kv.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { SILENT_TELEMETRY } from "./cluster-world.ts";

const EMPTY: StoreUsage = { liveBytes: 0, quotaBytes: GiB };

export function payloadsIn(kv: Pick<Kv, "get" | "transact">, usage: () => StoreUsage = () => EMPTY): JobPayloads {
  const clock = createRealClock();
  const store = new PayloadStore({ clock, telemetry: SILENT_TELEMETRY }, kv);
  return new JobPayloads({ clock }, { store, room: new PayloadRoom(), usage });
}
