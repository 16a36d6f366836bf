// Owns: which data directories there are, which node runs on which, and which of them vote in which slot.
// A voter is a data directory, not a name: a node that lost its disk and comes back is another one. Sets of voters are
// bit masks: bit i is the i-th directory that was seen.
import type { NodeId, NodeUid } from "../../../src/base/ids.ts";
import { countBits } from "./ballot-book.ts";

export interface VoterList {
  readonly fromSlot: number;
  readonly mask: number;
  readonly quorum: number;
}

/** Bits of a mask. */
const DIRECTORIES_MAX = 30;

export class VoterLists {
  /** The directory on which each node runs now. */
  private readonly directoryOf = new Map<NodeId, number>();
  private readonly names: NodeId[] = [];
  private readonly uids: (NodeUid | undefined)[] = [];
  private readonly lists: VoterList[];

  constructor(first: readonly NodeId[]) {
    for (const node of first) this.directoryOf.set(node, this.add(node, undefined));
    const mask = (1 << first.length) - 1;
    this.lists = [{ fromSlot: 0, mask, quorum: Math.floor(first.length / 2) + 1 }];
  }

  get count(): number {
    return this.names.length;
  }

  nameOf(directory: number): string {
    return this.names[directory] ?? "?";
  }

  /** Undefined for a node that nobody has heard of. */
  of(node: NodeId): number | undefined {
    return this.directoryOf.get(node);
  }

  /** A process of `node` runs on the directory `uid`. Returns its number. */
  opened(node: NodeId, uid: NodeUid): number {
    let directory = this.uids.indexOf(uid);
    if (directory < 0) {
      const first = this.directoryOf.get(node);
      // The first directory of a first voter is known by its name before anybody knows its uid.
      const isFirst = first !== undefined && this.uids[first] === undefined;
      directory = isFirst ? first : this.add(node, uid);
      this.uids[directory] = uid;
    }
    this.directoryOf.set(node, directory);
    return directory;
  }

  /** The list of `slot`, as far as anybody knows. */
  at(slot: number): VoterList {
    let found = this.lists[0];
    for (const list of this.lists) if (list.fromSlot <= slot) found = list;
    return found ?? { fromSlot: 0, mask: 0, quorum: 1 };
  }

  /** A node says who votes from `fromSlot` on. False when another one said otherwise. */
  note(fromSlot: number, uids: readonly NodeUid[]): boolean {
    let mask = 0;
    for (const uid of uids) mask |= 1 << this.uids.indexOf(uid);
    const known = this.lists.find((list) => list.fromSlot === fromSlot);
    if (known !== undefined) return known.mask === mask;
    this.lists.push({ fromSlot, mask, quorum: Math.floor(countBits(mask) / 2) + 1 });
    this.lists.sort((a, b) => a.fromSlot - b.fromSlot);
    return true;
  }

  /** Whether these nodes, on whatever directories, are a quorum of some list. */
  wereQuorum(nodes: ReadonlySet<NodeId>): boolean {
    return this.lists.some(({ mask, quorum }) => {
      return this.names.filter((name, index) => (mask & (1 << index)) !== 0 && nodes.has(name)).length >= quorum;
    });
  }

  private add(node: NodeId, uid: NodeUid | undefined): number {
    if (this.names.length >= DIRECTORIES_MAX) throw new RangeError("a run has too many data directories for a mask");
    this.names.push(node);
    this.uids.push(uid);
    return this.names.length - 1;
  }
}
