// Owns: opening and closing what topics are made of on one node.
import type { NodeId } from "../../base/ids.ts";
import type { Clock } from "../../env/clock.ts";
import type { Telemetry } from "../../env/telemetry.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type { OutgoingCalls } from "../../slices/host/outgoing-calls.ts";
import type { TopicPublisher } from "../../slices/services/topic-service.ts";
import type { MembershipService } from "../membership/membership-service.ts";
import type { LeadingVersions } from "../rollouts/leading-versions.ts";
import { TopicMetrics } from "./metrics.ts";
import { Publisher } from "./publisher.ts";
import { TopicAdmin } from "./topic-admin.ts";
import { TopicDelivery } from "./topic-delivery.ts";
import { TopicView } from "./topic-view.ts";

export interface TopicsPorts {
  readonly kv: Kv;
  readonly membership: Pick<MembershipService, "nodes" | "onChange">;
  /** A new version's topics are its own once it leads. */
  readonly leading: Pick<LeadingVersions, "isComplete" | "all" | "subscribe" | "guards">;
  readonly calls: OutgoingCalls;
  readonly onFatal: (error: unknown) => void;
}

export class Topics {
  readonly publisher: TopicPublisher;
  readonly admin: TopicAdmin;
  private readonly view: TopicView;
  private readonly delivery: TopicDelivery;

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    { kv, membership, leading, calls, onFatal }: TopicsPorts,
    life: { readonly node: NodeId; readonly incarnation: number },
  ) {
    const { clock, telemetry } = env;
    const { log } = telemetry;
    const metrics = new TopicMetrics(telemetry);
    this.view = new TopicView({ clock, log }, kv, leading);
    const { view } = this;
    const publisher = new Publisher({ kv, clock, view, metrics }, life);
    this.publisher = publisher;
    this.admin = new TopicAdmin({ kv, view, nextId: () => publisher.nextId() });
    const ports = { kv, view, leading, metrics, membership, calls, onFatal };
    this.delivery = new TopicDelivery({ clock, log }, ports, life.node);
  }

  start(): void {
    this.view.open();
    this.delivery.start();
  }

  /** Hands out nothing more; what was handed out may end, but not for long. Publishing goes on. */
  async stop(): Promise<void> {
    await this.delivery.stop();
  }

  async close(): Promise<void> {
    await this.delivery.close();
    await this.view.close();
  }
}
