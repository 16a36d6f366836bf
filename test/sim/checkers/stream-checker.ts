// Owns: the streams of changes that replicas show to watchers: ordered, each revision once, nothing left out, and the
// same on every replica and in every life of it. What the first replica shows at a revision is what all must show.
import { isDeepStrictEqual } from "node:util";
import type { NodeId } from "../../../src/base/ids.ts";
import type { KvChangeSet } from "../../../src/kvstore/core/schema.ts";
import type { Violations } from "./violations.ts";

export class StreamChecker {
  /** Index = revision - 1. */
  private readonly agreed: KvChangeSet[] = [];
  private readonly lastSeen = new Map<NodeId, number>();
  private readonly violations: Violations;

  constructor(violations: Violations) {
    this.violations = violations;
  }

  /** The complete log of changes so far. */
  get log(): readonly KvChangeSet[] {
    return this.agreed;
  }

  /** A process of `node` has loaded its state and shows changes after `revision`. */
  booted(node: NodeId, revision: number): void {
    if (revision > this.agreed.length) {
      this.report(`${node} starts at revision ${revision}, nobody has shown one above ${this.agreed.length}`);
    }
    this.lastSeen.set(node, revision);
  }

  changed(node: NodeId, set: KvChangeSet): void {
    const expected = (this.lastSeen.get(node) ?? 0) + 1;
    this.lastSeen.set(node, set.revision);
    if (set.revision !== expected) {
      this.report(`${node} shows revision ${set.revision} when ${expected} was next`);
      return;
    }
    const agreed = this.agreed[set.revision - 1];
    if (agreed === undefined) this.agreed.push(set);
    else if (!isDeepStrictEqual(set, agreed)) {
      this.report(`${node} shows ${JSON.stringify(set)}, another replica showed ${JSON.stringify(agreed)}`);
    }
  }

  private report(message: string): void {
    this.violations.report("C7", `C7: ${message}`);
  }
}
