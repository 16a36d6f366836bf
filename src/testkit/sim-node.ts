// Owns: one simulated node: the parts and the wiring of a real one, over the ports of a simulated machine.
// Not here: the HTTP API, files. Bundles stay in memory, and what runs them is sim-workers.ts.
import { AlertsConfig } from "../alerts/alerts-config.ts";
import { parseNodeId, type Digest, type NodeId } from "../base/ids.ts";
import { GiB } from "../base/units.ts";
import { ConsensusConfig } from "../consensus/config.ts";
import { GroupDriver } from "../consensus/group-driver.ts";
import type { Telemetry } from "../env/telemetry.ts";
import { InvocationConfig } from "../invocation/invocation-config.ts";
import { JobsConfig } from "../jobs/config.ts";
import { BackupSource } from "../kvstore/backup-source.ts";
import { openHistoryLog } from "../kvstore/history-log.ts";
import { KvGenerations } from "../kvstore/kv-generations.ts";
import { KvHistory } from "../kvstore/kv-history.ts";
import { KvState } from "../kvstore/kv-state.ts";
import { KvStore } from "../kvstore/kv-store.ts";
import { LeaseKeeper } from "../kvstore/lease-keeper.ts";
import { MetricsConfig } from "../metrics/metrics-config.ts";
import { openNodeWork, type NodeWork } from "../node/node-work.ts";
import { RuntimeConfig } from "../slices/host/runtime-config.ts";
import type { NodeSeams } from "./node-seams.ts";
import type { ProcessEnv } from "./sim/machine.ts";
import type { Outside } from "./sim/outside.ts";
import { createSimMeter } from "./sim/sim-meter.ts";
import { createSimTelemetry } from "./sim/sim-telemetry.ts";
import { createSimWorkers } from "./sim/sim-workers.ts";
import type { SimProcess } from "./sim/sim-process.ts";
import type { World } from "./sim/world.ts";
import type { TestSlice } from "./test-slice.ts";
import type { KnownMock } from "./tool-mock.ts";

/** A node whose process has opened its disks and runs. */
export interface SimNode extends NodeWork {
  readonly process: SimProcess;
  readonly group: GroupDriver;
  readonly kv: KvStore;
  /** As after SIGTERM: own instances away, calls answered, state on disk. Then the process may end. */
  drain(): Promise<void>;
  /** The chunks of a backup of the cluster. */
  backup(): Promise<readonly Uint8Array[]>;
}

export interface SimNodePorts {
  readonly world: World;
  readonly voters: readonly NodeId[];
  readonly labels: Readonly<Record<string, string>>;
  /** The slices there are, by the digests of their bundles. */
  readonly slices: ReadonlyMap<string, TestSlice>;
  /** What tools of agents reach. */
  readonly outside: Outside;
  findMock(tool: string): KnownMock | undefined;
  readonly seams: NodeSeams;
  /** The node must not go on. */
  readonly onFatal: (error: unknown) => void;
}

const CLUSTER = "test";
/** Large enough that a node takes whatever a test places on it. */
const CAPACITY = { cpus: 8, memoryBytes: 256 * GiB };

interface Foundation {
  readonly group: GroupDriver;
  readonly state: KvState;
  readonly kv: KvStore;
}

/** Opens and starts everything; peers can connect afterwards. Undefined when the process died meanwhile. */
export async function openSimNode(env: ProcessEnv, ports: SimNodePorts): Promise<SimNode | undefined> {
  const telemetry = createSimTelemetry(env.log);
  await ports.seams.plant?.(env.store);
  const foundation = await openFoundation(env, telemetry, ports);
  if (foundation === undefined) return undefined;
  const { group, state, kv } = foundation;
  const work = openWork(env, { telemetry, group, kv }, ports);
  group.start();
  const { clock, messaging, process } = env;
  new LeaseKeeper({ clock, telemetry }, { state, group, messaging }, process.node).start();
  work.start();
  const drain = async (): Promise<void> => {
    await work.drainAndStop();
    await state.checkpoint();
  };
  const backups = new BackupSource({ group, state, clock });
  return { ...work, process, group, kv, drain, backup: () => chunksOf(backups) };
}

async function chunksOf(backups: BackupSource): Promise<readonly Uint8Array[]> {
  const reader = await backups.begin();
  try {
    const chunks: Uint8Array[] = [];
    for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) chunks.push(chunk);
    return chunks;
  } finally {
    await reader.close();
  }
}

async function openFoundation(
  env: ProcessEnv,
  telemetry: Telemetry,
  { world, voters, onFatal }: SimNodePorts,
): Promise<Foundation | undefined> {
  const { process, clock, random, messaging } = env;
  const { log } = telemetry;
  const generations = await KvGenerations.open(env.store);
  const state = KvState.open({ generations, clock, log, cluster: CLUSTER, onFatal });
  // Before the group: what it applies from its journal belongs to the history too.
  const history = KvHistory.open({ state, disk: await openHistoryLog(env, log), log, cluster: CLUSTER });
  const wal = await env.logs.open("wal");
  const { windowSlots, pipelineSlots } = ConsensusConfig.parse({});
  const group = await GroupDriver.open(
    {
      clock, random: random.fork("consensus"), log, messaging, wal, stateMachine: state, onFatal,
      track: (task) => world.spawn(process, () => task),
    },
    { cluster: CLUSTER, node: process.node, voters, address: addressOf(process.node), windowSlots, pipelineSlots },
  );
  if (!process.isAlive) return undefined;
  return { group, state, kv: new KvStore({ group, state, clock, history }) };
}

function openWork(
  env: ProcessEnv,
  { telemetry, group, kv }: { readonly telemetry: Telemetry; readonly group: GroupDriver; readonly kv: KvStore },
  { world, labels, slices: known, outside, findMock, seams, onFatal }: SimNodePorts,
): NodeWork {
  const { process, clock, messaging, random } = env;
  const { node } = process;
  const bundles = { put: (_bundle: Uint8Array, digest: Digest) => Promise.resolve(digest) };
  const findSlice = (digest: string): TestSlice | undefined => known.get(digest);
  const mocks = { outside, sender: process, findMock };
  const workers = createSimWorkers({ world, process, clock, random: random.fork("workers"), findSlice, mocks });
  const seen = { kv: seams.kv?.(kv, process) ?? kv, workers: seams.workers?.(workers, process) ?? workers };
  const meter = createSimMeter(() => seams.measured?.(process) ?? {});
  const workEnv = { clock, random, workers: seen.workers, telemetry, meter };
  const { webhooks } = seams;
  const reach = webhooks && { sender: webhooks.sender(process), secrets: webhooks.secrets };
  return openNodeWork(workEnv, { messaging, group, kv: seen.kv, bundles, onFatal, ...reach }, {
    self: { node, peerAddress: addressOf(node), apiAddress: addressOf(node), labels, capacity: CAPACITY, settings: {} },
    runtime: RuntimeConfig.parse({}),
    invocation: InvocationConfig.parse({}),
    jobs: JobsConfig.parse(seams.jobs ?? {}),
    metrics: MetricsConfig.parse({}),
    alerts: AlertsConfig.parse(seams.alerts ?? {}),
  });
}

function addressOf(node: NodeId): string {
  return `sim://${node}`;
}

/** `n1`, `n2`, … */
export function nameNodes(count: number): readonly NodeId[] {
  return Array.from({ length: count }, (_, index) => parseNodeId(`n${index + 1}`));
}
