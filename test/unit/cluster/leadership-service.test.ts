import { expect, onTestFinished, test } from "vitest";
import { parseNodeId, parseNodeUid } from "../../../src/base/ids.ts";
import { ClusterViews } from "../../../src/cluster/cluster-views.ts";
import { LeadershipService } from "../../../src/cluster/leadership/leadership-service.ts";
import type { MembershipView } from "../../../src/consensus/group.ts";
import { SILENT_TELEMETRY } from "../../support/cluster-world.ts";
import { createLocalKv, SILENT_LOG, type LocalGroup } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const n1 = parseNodeId("n1");
const self = { node: n1, uid: parseNodeUid("n1aaaaaaaaaaaaaa"), incarnation: 1 };

interface Leading {
  readonly clock: ManualClock;
  readonly group: LocalGroup;
  readonly leadership: LeadershipService;
}

/** The only voter of a cluster, which leads. */
async function leading(): Promise<Leading> {
  const clock = new ManualClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  const { kv, group, close } = await opening;
  const views = new ClusterViews({ clock, log: SILENT_LOG }, kv);
  views.open();
  const membership = { voters: [n1] } as Partial<MembershipView> as MembershipView;
  // To this node the store is slow, not away.
  const ports = { status: () => ({ ...group.status(), isReady: true }), membership: () => membership };
  const leadership = new LeadershipService({ clock, telemetry: SILENT_TELEMETRY }, {
    kv, group: ports, views, onFatal: (error) => expect.fail(String(error)),
  }, { self });
  const end = async (): Promise<void> => {
    await leadership.close();
    await views.close();
    await close();
  };
  onTestFinished(() => clock.settled(end(), 5_000));
  leadership.start();
  await clock.advance(1_000);
  expect(leadership.isLeader).toBe(true);
  return { clock, group, leadership };
}

test("who found a leader without its time is told when it leads again, with a beat that came late", async () => {
  const { clock, group, leadership } = await leading();
  group.setMode("silent");
  await clock.advanceUntil(() => !leadership.isLeader, 4_000);
  expect(leadership.fence()).toBeUndefined();
  const told: boolean[] = [];
  leadership.onChange(() => told.push(leadership.isLeader));
  group.setMode("deciding");
  await clock.settle();
  expect(leadership.isLeader).toBe(true);
  expect(told.at(-1)).toBe(true);
});
