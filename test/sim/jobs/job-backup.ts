// Owns: taking the backup of a run while faults come, and whether the cluster that begins from it has all that was
// known to be stored before the backup was asked for.
import { parseJobId } from "../../../src/base/ids.ts";
import type { ClusterParts } from "../../../src/testkit/node-seams.ts";
import { askJobs } from "../../../src/testkit/ask-jobs.ts";
import type { TestCluster } from "../../../src/testkit/test-cluster.ts";
import type { JobViolation } from "./job-checker.ts";
import type { LogEnd } from "./job-observer.ts";

/** A node that has given nothing by then is taken for lost. */
const GIVE_MS_MAX = 6_000;
const RETRY_MS = 200;
const JOBS_MAX = 1_000;

export interface TakenBackup {
  readonly chunks: readonly Uint8Array[];
  /** Where the log of each job was known to end when it was asked for. */
  readonly ends: ReadonlyMap<string, LogEnd>;
}

/** Of the first node that gives one. */
export async function takeBackup(
  cluster: TestCluster, { backup }: Pick<ClusterParts, "backup">, known: ReadonlyMap<string, LogEnd>,
): Promise<TakenBackup> {
  for (;;) {
    for (const node of cluster.nodes) {
      const ends = new Map(known);
      const late = cluster.advance(GIVE_MS_MAX).then(() => undefined);
      // ignored: the node is down, or has no quorum; another one is asked.
      const given = Promise.resolve().then(() => backup(node)).catch(() => undefined);
      const chunks = await Promise.race([given, late]);
      if (chunks !== undefined) return { chunks, ends };
    }
    await cluster.advance(RETRY_MS);
  }
}

/** As the new cluster says itself. */
export async function findMissing(
  { ends }: TakenBackup, jobs: ReturnType<ClusterParts["jobs"]>,
): Promise<JobViolation | undefined> {
  const { jobs: listed } = await askJobs(jobs, "looking at jobs", (doors) => doors.list({ limit: JOBS_MAX }));
  const held = new Set<string>(listed.map(({ job }) => job));
  for (const [id, end] of ends) {
    if (!held.has(id)) return missing(`${id} is not there`);
    const job = parseJobId(id);
    const { head } = await askJobs(jobs, "looking at a job", (doors) => doors.show(job));
    if (isBefore(head, end)) return missing(`${id} ends at ${head.run}/${head.seq}, and not at ${end.run}/${end.seq}`);
  }
  return undefined;
}

function missing(what: string): JobViolation {
  return { check: "backup", message: `after a restore ${what}, as was known before the backup was asked for` };
}

export function isBefore(one: LogEnd, other: LogEnd): boolean {
  return one.run < other.run || (one.run === other.run && one.seq < other.seq);
}
