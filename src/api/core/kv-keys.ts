// Owns: which keys the API's callers may write, and which prefixes exist.
import { AetherError } from "../../base/errors.ts";
import { parseKeyText, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { Op } from "../../kvstore/core/schema.ts";

const DATA_PREFIX = prefixOf({ kind: "data" });
const PREFIXES: readonly string[] = [
  DATA_PREFIX,
  prefixOf({ kind: "nodes" }),
  prefixOf({ kind: "leader" }),
  prefixOf({ kind: "artifacts" }),
  prefixOf({ kind: "blobs" }),
  prefixOf({ kind: "blueprints" }),
  prefixOf({ kind: "rollouts" }),
  prefixOf({ kind: "slice-owners" }),
  prefixOf({ kind: "scales" }),
  prefixOf({ kind: "control" }),
  prefixOf({ kind: "routes" }),
  prefixOf({ kind: "schedules" }),
  prefixOf({ kind: "agent-schedules" }),
  prefixOf({ kind: "calls" }),
  prefixOf({ kind: "slice-leases" }),
  prefixOf({ kind: "topics" }),
  prefixOf({ kind: "slices" }),
  prefixOf({ kind: "endpoints" }),
  ...(["jobs", "job-data", "job-inboxes", "job-queue", "job-timers", "job-owned", "job-beats", "job-starts",
    "job-agents", "job-ends", "jobs-collected", "job-approvals", "job-pins", "job-children", "job-outboxes",
    "job-notices", "job-permits", "job-rates", "job-blobs", "job-blob-writes", "job-blob-chunks",
  ] as const).map((kind) => prefixOf({ kind })),
  "job-blob-refs/",
  "cluster/",
];
const PREFIX_CHARS_MAX = 512;

/** @throws AetherError E_INVALID for what is no key, E_FORBIDDEN for the system's own keys. */
export function parseWritableKey(text: string): KeyText {
  const key = parseKeyText(text);
  checkWritable(key);
  return key;
}

/** @throws AetherError E_FORBIDDEN unless `key` belongs to users. */
export function checkWritable(key: KeyText): void {
  if (key.startsWith(DATA_PREFIX)) return;
  throw new AetherError(
    "E_FORBIDDEN",
    `"${key}" is one of the system's own keys: readable, but written only through its own calls; use ${DATA_PREFIX}…`,
    { details: { key } },
  );
}

/** @throws AetherError E_FORBIDDEN when an operation writes a key that does not belong to users. */
export function checkWritableOps(ops: readonly Op[]): void {
  for (const op of ops) {
    if (op.kind !== "get") checkWritable(op.key);
  }
}

/** A prefix to list or watch. @throws AetherError E_INVALID when no key can begin with it. */
export function parsePrefix(text: string): string {
  const isKnown = PREFIXES.some((prefix) => text.startsWith(prefix) || prefix.startsWith(text));
  if (isKnown && text.length <= PREFIX_CHARS_MAX) return text;
  const shown = text.slice(0, 80);
  throw new AetherError("E_INVALID", `no key begins with "${shown}": keys of your own begin with ${DATA_PREFIX}`, {
    details: { prefix: shown },
  });
}
