// Owns: what numbers were measured on: without it they mean nothing.
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from "node:fs";
import { cpus, release, tmpdir, totalmem, type } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { etcdVersion } from "./etcd/etcd-cluster.ts";
import { percentile } from "./statistics.ts";

const SYNCS = 200;
const SYNC_BYTES = 4_096;
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"],
  [0x01021994, "tmpfs"],
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0x794c7630, "overlayfs"],
]);

export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  readonly aether: string;
  readonly etcd: string | undefined;
  readonly fileSystem: string;
  /** fdatasync of 4 KiB appended to a file where the data directories are. */
  readonly syncMs: { readonly p50: number; readonly p99: number };
}

export function describeMachine(): Machine {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release().split(".").slice(0, 2).join(".")}`,
    node: process.version,
    aether: (JSON.parse(manifest) as { version: string }).version,
    etcd: etcdVersion(),
    fileSystem: FILE_SYSTEMS.get(statfsSync(tmpdir()).type) ?? "another",
    syncMs: measureSync(),
  };
}

function measureSync(): Machine["syncMs"] {
  const directory = mkdtempSync(join(tmpdir(), "sync-bench-"));
  const file = openSync(join(directory, "file"), "a");
  const block = Buffer.alloc(SYNC_BYTES, 1);
  const times = Array.from({ length: SYNCS }, () => {
    const startMs = performance.now();
    writeSync(file, block);
    fdatasyncSync(file);
    return performance.now() - startMs;
  });
  closeSync(file);
  rmSync(directory, { recursive: true });
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
}
