// Owns: events of what this node alone sees: peers that it does not hear, a majority that it does not see, the voters
// that rule. They are not told to others: each node has its own view, and says whose it is.
import { SECOND_MS } from "../../base/units.ts";
import type { NodeId } from "../../base/ids.ts";
import type { MembershipService } from "../../cluster/membership/membership-service.ts";
import type { Group, GroupMembership } from "../../consensus/group.ts";
import type { Clock, Timer } from "../../env/clock.ts";
import type { EventHub } from "./event-hub.ts";

export interface OwnEventsPorts {
  readonly group: Pick<Group, "status"> & Pick<GroupMembership, "membership" | "onMembership">;
  readonly membership: Pick<MembershipService, "nodes" | "onChange">;
  readonly hub: Pick<EventHub, "say">;
}

/** How often this node looks whether it sees a majority. */
const LOOK_EVERY_MS = SECOND_MS / 4;

export class OwnEvents {
  private readonly clock: Clock;
  private readonly ports: OwnEventsPorts;
  private readonly self: NodeId;
  private suspected: ReadonlySet<NodeId> = new Set();
  private voters: string;
  /** Undefined until this node sees a majority for the first time: before, nothing was lost. */
  private hasQuorum: boolean | undefined;
  private timer: Timer | undefined;

  constructor({ clock }: { readonly clock: Clock }, ports: OwnEventsPorts, self: NodeId) {
    this.clock = clock;
    this.ports = ports;
    this.self = self;
    this.voters = this.votersNow();
    ports.membership.onChange(() => this.lookAtPeers());
    ports.group.onMembership(() => this.lookAtVoters());
  }

  start(): void {
    this.timer = this.clock.setTimer(LOOK_EVERY_MS, () => {
      this.lookAtQuorum();
      this.start();
    });
  }

  close(): void {
    this.timer?.cancel();
  }

  private lookAtQuorum(): void {
    const { hasQuorum, quorum: { have, need } } = this.ports.group.status();
    const before = this.hasQuorum;
    if (hasQuorum === before || (before === undefined && !hasQuorum)) return;
    this.hasQuorum = hasQuorum;
    if (before === undefined) return;
    const kind = hasQuorum ? "quorum.regained" : "quorum.lost";
    this.ports.hub.say({ kind, fields: { by: this.self, have, need } }, this.clock.wallMs());
  }

  private lookAtPeers(): void {
    const nodes = this.ports.membership.nodes;
    const now = new Set(nodes.flatMap(({ node, status }) => (status === "suspected" ? [node] : [])));
    // Who is gone was not heard either: that is said by the store.
    const gone = new Set(nodes.flatMap(({ node, status }) => (status === "gone" ? [node] : [])));
    for (const node of now) if (!this.suspected.has(node)) this.say("node.suspected", node);
    for (const node of this.suspected) if (!now.has(node) && !gone.has(node)) this.say("node.heard", node);
    this.suspected = now;
  }

  private say(kind: "node.suspected" | "node.heard", node: NodeId): void {
    this.ports.hub.say({ kind, fields: { node, by: this.self } }, this.clock.wallMs());
  }

  private lookAtVoters(): void {
    const voters = this.votersNow();
    if (voters === this.voters) return;
    const before = this.voters;
    this.voters = voters;
    // The first list that this node learns is no change.
    if (before === "") return;
    this.ports.hub.say({ kind: "voters.changed", fields: { voters, by: this.self } }, this.clock.wallMs());
  }

  private votersNow(): string {
    return this.ports.group.membership().voters.join(", ");
  }
}
