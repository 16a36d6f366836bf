// Owns: when leases may end. A lease ends because somebody revoked it, or because a quorum of nodes, each by its own
// clock, has seen it idle for its whole time since it was renewed last: one clock, however wrong, ends nothing. All
// replicas see the same leases granted, renewed and ended.
// Does not own: what goes with a lease (store-order-checker.ts).
import type { NodeId } from "../../../src/base/ids.ts";
import type { LeaseId } from "../../../src/kvstore/core/schema.ts";
import type { SeenLease } from "../../../src/kvstore/core/command.ts";
import type { LeaseResult } from "../../../src/kvstore/kv-state.ts";
import type { Ending } from "./history.ts";
import type { Violations } from "./violations.ts";

export interface LeaseCheckerPorts {
  readonly nodes: readonly NodeId[];
  /** What the monotonic clock of the node's machine shows now. */
  readonly clockMs: (node: NodeId) => number;
  /** Whether these nodes are a quorum of some list of voters that there was. */
  readonly isQuorum: (nodes: ReadonlySet<NodeId>) => boolean;
}

export interface LeaseStats {
  leasesGranted: number;
  /** Of these, those that nobody revoked. */
  leasesExpired: number;
}

interface LeaseBook {
  readonly ttlMs: number;
  /** By the number of renewals: what each clock showed when the first replica applied that one. */
  readonly clocks: ReadonlyMap<NodeId, number>[];
  /** The renewals at which a node has proposed the end. */
  readonly proposed: Set<number>;
  isRevoked: boolean;
  ending: Ending | undefined;
}

/** Clocks are sums of fractions. */
const ROUNDING_MS = 0.001;

export class LeaseChecker {
  private readonly ports: LeaseCheckerPorts;
  private readonly violations: Violations;
  private readonly books = new Map<LeaseId, LeaseBook>();
  private readonly ended = new Set<Ending>();

  constructor(ports: LeaseCheckerPorts, violations: Violations) {
    this.ports = ports;
    this.violations = violations;
  }

  get endings(): readonly Ending[] {
    return [...this.ended];
  }

  get stats(): LeaseStats {
    const books = [...this.books.values()];
    const expired = books.filter(({ ending, isRevoked }) => ending !== undefined && !isRevoked);
    return { leasesGranted: books.length, leasesExpired: expired.length };
  }

  /** Leases that are held, as far as anybody has applied. */
  get held(): readonly LeaseId[] {
    return [...this.books].flatMap(([lease, { ending }]) => (ending === undefined ? [lease] : []));
  }

  /** Somebody asks for the end of the lease. */
  revoking(lease: LeaseId): void {
    const book = this.books.get(lease);
    if (book !== undefined) book.isRevoked = true;
  }

  /** A replica has applied this. */
  applied(node: NodeId, result: LeaseResult): void {
    switch (result.kind) {
      case "granted":
        this.granted(node, result);
        return;
      case "renewed":
        for (const seen of result.leases) this.renewed(node, seen);
        return;
      case "ended":
        for (const lease of result.leases) this.endedOn(node, lease, result);
        return;
    }
  }

  /** A node proposes to end these leases, if they were not renewed since. */
  proposed(node: NodeId, leases: readonly SeenLease[]): void {
    for (const { lease, renewals } of leases) {
      const book = this.books.get(lease);
      const since = book?.clocks[renewals];
      if (book === undefined || since === undefined) {
        this.report(`${node} would end lease ${lease} at renewal ${renewals}, which nobody has applied`);
        continue;
      }
      book.proposed.add(renewals);
      const idle = this.ports.nodes.filter((other) => this.hasPassed(other, since, book.ttlMs));
      if (this.ports.isQuorum(new Set(idle))) continue;
      const clocks = idle.join() || "nobody";
      this.report(`${node} would end lease ${lease} of ${book.ttlMs} ms; it is idle for so long by ${clocks}`);
    }
  }

  /** A node says that there is no such lease any more. */
  refused(node: NodeId, lease: LeaseId): void {
    if (this.held.includes(lease)) this.report(`${node} says lease ${lease} has ended, and it has not`);
  }

  private granted(node: NodeId, { lease, ttlMs }: Extract<LeaseResult, { readonly kind: "granted" }>): void {
    const known = this.books.get(lease);
    if (known === undefined) {
      const book = { ttlMs, clocks: [this.clocks()], proposed: new Set<number>(), isRevoked: false, ending: undefined };
      this.books.set(lease, book);
    } else if (known.ttlMs !== ttlMs) this.report(`${node} has granted lease ${lease} for another time`);
  }

  private renewed(node: NodeId, { lease, renewals }: SeenLease): void {
    const book = this.books.get(lease);
    if (book === undefined || renewals > book.clocks.length) {
      this.report(`${node} has renewed lease ${lease} the ${renewals}. time, out of order`);
    } else if (book.ending !== undefined && renewals === book.clocks.length) {
      this.report(`${node} has renewed lease ${lease} after its end`);
    } else book.clocks[renewals] ??= this.clocks();
  }

  private endedOn(node: NodeId, lease: LeaseId, made: Extract<LeaseResult, { readonly kind: "ended" }>): void {
    const { leases, revision, changes } = made;
    const book = this.books.get(lease);
    const known = book?.ending;
    if (book === undefined) this.report(`${node} has ended lease ${lease}, which nobody was granted`);
    else if (known === undefined) {
      const together = [...this.ended].find((other) => other.leases === leases);
      const ending = together ?? { leases, revision, hasKeys: changes.length > 0 };
      this.ended.add(ending);
      book.ending = ending;
      if (book.isRevoked || book.proposed.has(book.clocks.length - 1)) return;
      this.report(`lease ${lease} has ended on ${node}, and nobody has asked for it since it was renewed`);
    } else if (known.revision !== revision) {
      this.report(`${node} has ended lease ${lease} at revision ${revision}, others at ${known.revision}`);
    }
  }

  private clocks(): ReadonlyMap<NodeId, number> {
    return new Map(this.ports.nodes.map((node) => [node, this.ports.clockMs(node)]));
  }

  private hasPassed(node: NodeId, since: ReadonlyMap<NodeId, number>, ttlMs: number): boolean {
    return this.ports.clockMs(node) - (since.get(node) ?? 0) >= ttlMs - ROUNDING_MS;
  }

  private report(message: string): void {
    this.violations.report("leases", message);
  }
}
