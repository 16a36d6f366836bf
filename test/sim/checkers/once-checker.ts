// Owns: C8 for what clients write: each value comes into the store in one revision only, however often it was sent.
// It trusts no answer and no request: values are unique.
import type { KvChangeSet } from "../../../src/kvstore/core/schema.ts";
import { tagOf } from "../workloads/actions.ts";
import type { Violations } from "./violations.ts";

export function checkOnce(log: readonly KvChangeSet[], violations: Violations): void {
  const writtenAt = new Map<unknown, number>();
  for (const { revision, changes } of log) {
    for (const change of changes) {
      if (change.kind === "delete") continue;
      const tag = tagOf(change.entry.value);
      const earlier = writtenAt.get(tag);
      writtenAt.set(tag, revision);
      if (earlier === undefined || earlier === revision) continue;
      violations.report("C8", `C8: ${JSON.stringify(tag)} was written twice, at revisions ${earlier} and ${revision}`);
    }
  }
}
