// Owns: what commands that prepare the data directory of a node have in common: which one it is, how far they are, and
// an end by Ctrl-C that leaves nothing behind.
import { MiB, SECOND_MS } from "../../base/units.ts";
import type { CliIo } from "../cli-io.ts";
import { UsageError } from "../usage-error.ts";

/** People learn this often how far it is. */
const PROGRESS_MS = 2 * SECOND_MS;

export interface TargetFlags {
  readonly config?: string;
  readonly dataDir?: string;
  readonly cluster?: string;
}

export interface Target {
  readonly dataDir: string;
  readonly cluster: string;
}

/** `what` is to happen to the node. @throws UsageError, AetherError E_CONFIG */
export async function targetOf({ config, dataDir, cluster }: TargetFlags, what: string): Promise<Target> {
  if (config !== undefined) {
    const { loadNodeConfig } = await import("../../node/config.ts");
    return loadNodeConfig({
      file: config,
      overrides: { ...(dataDir === undefined ? {} : { dataDir }), ...(cluster === undefined ? {} : { cluster }) },
    });
  }
  if (dataDir !== undefined && cluster !== undefined) return { dataDir, cluster };
  throw new UsageError(`say which node is ${what}: --config FILE, or --data-dir DIRECTORY and --cluster NAME`);
}

/** A line on stderr now and then. */
export function progressTo(io: CliIo, what: string): (rows: number, bytes: number) => void {
  let saidMs = io.nowMs();
  return (rows, bytes) => {
    const nowMs = io.nowMs();
    if (nowMs - saidMs < PROGRESS_MS) return;
    saidMs = nowMs;
    io.report(`${what} ${rows} rows, ${megabytes(bytes)} …`);
  };
}

export function megabytes(bytes: number): string {
  return `${(bytes / MiB).toFixed(1)} MiB`;
}
