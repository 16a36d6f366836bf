// Owns: what stands between the parts of each node of a run: it notes the transactions of jobs, and says where one may
// be struck. Does not own: what strikes (job-nemesis.ts), planted faults (planted-jobs.ts).
import { decode } from "../../../src/base/codec.ts";
import { createDeferred, type Deferred } from "../../../src/base/deferred.ts";
import { AetherError } from "../../../src/base/errors.ts";
import { LEADER_KEY, prefixOf } from "../../../src/kvstore/core/key.ts";
import type { Txn, TxnResult } from "../../../src/kvstore/core/schema.ts";
import type { KvStore } from "../../../src/kvstore/kv-store.ts";
import { storeWith, type ClusterParts, type NodeSeams } from "../../../src/testkit/node-seams.ts";
import type { SimProcess } from "../../../src/testkit/sim/sim-process.ts";
import type { TestCluster } from "../../../src/testkit/test-cluster.ts";
import { isBefore } from "./job-backup.ts";
import type { JobBooks, StreamTxn } from "./job-books.ts";
import type { MOMENTS } from "./job-plan.ts";
import { isLedgerKey, isStartOfTick, tamperWith, tamperWithWorkers, type JobFault } from "./planted-jobs.ts";

/** The number of a transaction among those of its kinds; 0 where it is none. */
export type MomentNumbers = Readonly<Record<(typeof MOMENTS)[number], number>>;

export interface ObserverPorts {
  readonly planted: JobFault | undefined;
  nowMs(): number;
  onParts(parts: ClusterParts): void;
  /** Right before or after an owner's transaction; what it does may end the process. */
  strike(process: SimProcess, when: "before" | "after", numbers: MomentNumbers): void;
}

/** Where the log of a job ends. */
export interface LogEnd {
  readonly run: number;
  readonly seq: number;
}

const NONE: MomentNumbers = { all: 0, grants: 0, families: 0, ticks: 0 };
const STREAM_MS_MAX = 20_000;
const STEP_COMPLETED = 16;
const TIMER_FIRED = 33;

export class JobObserver {
  readonly grantsAnswered: JobBooks["grantsAnswered"][number][] = [];
  readonly revisions: JobBooks["revisions"][number][] = [];
  readonly stepsStored = new Map<string, number>();
  /** Where the log of each job ends at least: whoever wrote it knows that it is stored. */
  readonly ends = new Map<string, LogEnd>();
  readonly fired = new Map<string, number>();
  readonly refills: JobBooks["refills"][number][] = [];
  /** Transactions that owners made for jobs. */
  moments = 0;
  private readonly ports: ObserverPorts;
  private readonly stores = new Map<SimProcess, KvStore>();
  private readonly waits = new Map<string, Deferred<void>>();
  /** Of the cluster that runs now. */
  private counted: Record<(typeof MOMENTS)[number], number> = { ...NONE };

  constructor(ports: ObserverPorts) {
    this.ports = ports;
  }

  seams(): NodeSeams {
    const { planted } = this.ports;
    const tamper = tamperWith(planted);
    return {
      parts: (parts) => this.ports.onParts(parts),
      workers: (workers) => tamperWithWorkers(planted, workers),
      kv: (kv, process) => {
        this.stores.set(process, kv);
        return storeWith(kv, (txn, go) => this.pass(process, txn, (given) =>
          tamper(given, (changed) => this.propose(process, changed, go))));
      },
    };
  }

  /** Resolves when an owner proposes that the job waits. */
  aboutToWait(id: string): Promise<void> {
    const known = this.waits.get(id) ?? createDeferred<void>();
    this.waits.set(id, known);
    return known.promise;
  }

  /** Whether webhooks have heard all, as a living node has it. */
  async isAllTold(): Promise<boolean> {
    const [, kv] = [...this.stores].findLast(([{ isAlive }]) => isAlive) ?? [];
    const page = await kv?.list({ prefix: prefixOf({ kind: "job-notices" }), limit: 1 }, { consistency: "local" });
    return page?.entries.length === 0;
  }

  /** All that the store has ever applied of jobs, as one living node has it. */
  async readStream(cluster: TestCluster): Promise<readonly StreamTxn[]> {
    await cluster.until(() => [...this.stores.keys()].some(({ isAlive }) => isAlive), STREAM_MS_MAX);
    const [, kv] = [...this.stores].findLast(([{ isAlive }]) => isAlive) ?? [];
    if (kv === undefined) throw new AetherError("E_UNAVAILABLE", "no node lives");
    const stream: StreamTxn[] = [];
    const done = createDeferred<void>();
    const last = kv.revision;
    const watch = kv.watch("job", {
      onChanges: ({ revision, changes }) => void stream.push({
        revision,
        changes: changes.map((change) => (change.kind === "put"
          ? { key: change.entry.key, value: change.entry.value }
          : { key: change.key, value: undefined })),
      }),
      onProgress: (revision) => {
        if (revision >= last) done.resolve();
      },
      onEnd: (reason) => done.reject(reason),
    }, { fromRevision: 1 });
    let isDone = false;
    void done.promise.then(() => (isDone = true), () => (isDone = true));
    await cluster.until(() => {
      watch.requestProgress();
      return isDone;
    }, STREAM_MS_MAX);
    await done.promise;
    watch.cancel();
    return stream;
  }

  /** Another cluster begins: its faults come at moments of its own. */
  countAnew(): void {
    this.counted = { ...NONE };
  }

  /** Where an owner writes for a job is a moment at which something may happen. */
  private async pass(process: SimProcess, txn: Txn, go: (txn: Txn) => Promise<TxnResult>): Promise<TxnResult> {
    const isOwners = txn.then.some(({ key }) => key.endsWith("/head"));
    const isOfFamily = txn.then.some(({ key }) => key.startsWith("job-children/") || key.startsWith("job-outbox/"));
    const isOfTick = txn.then.some(isTickOp);
    if (!isOwners && !isOfFamily && !isOfTick) return await go(txn);
    for (const id of waitingIn(txn)) this.waits.get(id)?.resolve();
    if (isOwners) this.moments += 1;
    const { counted } = this;
    const numbers = {
      all: isOwners ? (counted.all += 1) : 0,
      grants: grantsIn(txn).length > 0 ? (counted.grants += 1) : 0,
      families: isOfFamily ? (counted.families += 1) : 0,
      ticks: isOfTick ? (counted.ticks += 1) : 0,
    };
    this.ports.strike(process, "before", numbers);
    if (!process.isAlive) return await never();
    const result = await go(txn);
    this.ports.strike(process, "after", numbers);
    return process.isAlive ? result : await never();
  }

  private async propose(
    { node }: SimProcess, txn: Txn, go: (txn: Txn) => Promise<TxnResult>,
  ): Promise<TxnResult> {
    this.noteProposed(txn);
    const result = await go(txn);
    const atMs = this.ports.nowMs();
    this.revisions.push({ atMs, revision: result.revision });
    for (const effectId of grantsIn(txn)) this.grantsAnswered.push({ node, effectId, atMs });
    if (result.succeeded) {
      this.noteSteps(txn, atMs);
      this.noteEnds(txn);
    }
    return result;
  }

  private noteProposed(txn: Txn): void {
    const atMs = this.ports.nowMs();
    for (const { job, type, call } of eventsIn(txn)) if (type === TIMER_FIRED) this.fired.set(`${job} ${call}`, atMs);
    for (const op of txn.then) {
      if (op.kind !== "put" || !op.key.startsWith("job-rates/")) continue;
      const { tokens } = op.value as { readonly tokens: number };
      this.refills.push({ key: op.key, tokens, atMs, isGivenBack: !isLeaders(txn) });
    }
  }

  private noteEnds({ then }: Txn): void {
    for (const op of then) {
      const [, , job = "", part] = op.key.split("/");
      if (op.kind !== "put" || part !== "head") continue;
      const [, run, seq] = op.value as readonly [number, number, number];
      const known = this.ends.get(job);
      if (known === undefined || isBefore(known, { run, seq })) this.ends.set(job, { run, seq });
    }
  }

  private noteSteps(txn: Txn, atMs: number): void {
    for (const { job, type, call } of eventsIn(txn)) {
      const label = /([^/#]+)#\d+$/.exec(call)?.[1];
      if (type === STEP_COMPLETED && label !== undefined) this.stepsStored.set(`${job} ${label}`, atMs);
    }
  }
}

function isLeaders({ compare }: Txn): boolean {
  return compare.some(({ key }) => key === LEADER_KEY);
}

interface EventIn {
  readonly job: string;
  readonly type: number;
  readonly call: string;
}

function eventsIn({ then }: Txn): readonly EventIn[] {
  return then.flatMap((op) => {
    const [, , job = "", part] = op.key.split("/");
    if (op.kind !== "put" || part !== "log") return [];
    const [, , events] = op.value as readonly [number, Uint8Array, readonly Uint8Array[]];
    return events.map((bytes) => {
      const [, type, , , data] = decode(bytes, bytes.byteLength) as
        readonly [number, number, number, number, { readonly call?: string }];
      return { job, type, call: data.call ?? "" };
    });
  });
}

/** Effect ids of the calls that it grants. */
function grantsIn({ then }: Txn): readonly string[] {
  return then.flatMap((op) => {
    if (op.kind !== "put" || !isLedgerKey(op.key)) return [];
    const { state, effectId } = op.value as { readonly state: string; readonly effectId: string };
    return state === "granted" ? [effectId] : [];
  });
}

/** That a tick has come, its job, or how it ended; not that nothing has come yet. */
function isTickOp(op: Txn["then"][number]): boolean {
  if (op.kind !== "put") return false;
  if (op.key.startsWith("agent-schedules/")) return (op.value as { readonly state: string }).state !== "waiting";
  return isStartOfTick(op);
}

/** Jobs that it lets wait. */
function waitingIn({ then }: Txn): readonly string[] {
  return then.flatMap((op) => {
    const isWaiting = op.kind === "put" && op.key.startsWith("jobs/") &&
      (op.value as { readonly status: string }).status === "waiting";
    return isWaiting ? [op.key.split("/")[2] ?? ""] : [];
  });
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}
