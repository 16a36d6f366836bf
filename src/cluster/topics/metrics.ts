// Owns: the metrics of topics.
import type { Counter, Gauge, Telemetry } from "../../env/telemetry.ts";
import type { TopicGroup } from "./topic-view.ts";

const OF_GROUP = ["topic", "group"];

export class TopicMetrics {
  readonly published: Counter;
  readonly delivered: Counter;
  readonly retried: Counter;
  readonly givenUp: Counter;
  private readonly waiting: Gauge;
  private readonly dead: Gauge;
  private told: readonly Pick<TopicGroup, "topic" | "group">[] = [];

  constructor(telemetry: Telemetry) {
    this.published = telemetry.counter({
      name: "aether_topic_published_total", help: "Messages published through this node.", labels: ["topic"],
    });
    this.delivered = telemetry.counter({
      name: "aether_topic_delivered_total",
      help: "Messages that this node handed out and that were handled.",
      labels: OF_GROUP,
    });
    this.retried = telemetry.counter({
      name: "aether_topic_retried_total",
      help: "Attempts of messages, handed out by this node, that failed and are made again.",
      labels: OF_GROUP,
    });
    this.givenUp = telemetry.counter({
      name: "aether_topic_given_up_total",
      help: "Messages that this node put aside after their last attempt.",
      labels: OF_GROUP,
    });
    this.waiting = telemetry.gauge({
      name: "aether_topic_waiting_messages",
      help: "Messages that wait for a slice, in the whole cluster: every node says the same.",
      labels: OF_GROUP,
    });
    this.dead = telemetry.gauge({
      name: "aether_topic_dead_messages",
      help: "Messages that were put aside, in the whole cluster: every node says the same.",
      labels: OF_GROUP,
    });
  }

  /** What stands now; a group that is gone has nothing. */
  tell(groups: readonly TopicGroup[]): void {
    for (const { topic, group } of this.told) {
      this.waiting.set(0, { topic, group });
      this.dead.set(0, { topic, group });
    }
    for (const { topic, group, queue, dead } of groups) {
      this.waiting.set(queue.size, { topic, group });
      this.dead.set(dead.size, { topic, group });
    }
    this.told = groups.map(({ topic, group }) => ({ topic, group }));
  }
}
