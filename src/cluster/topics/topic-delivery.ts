// Owns: handing out messages: each is a call of the group's method, again and again until one ends well.
// A message goes only after it was handled, or was given up after so many attempts: none is lost. An attempt carries
// one idempotency key on every node, so that a node that takes over does not run it again.
// Does not own: the order (core/topic-queue.ts), whose messages they are (core/message-share.ts), calls (invocation).
import { AssertionError } from "../../base/assert.ts";
import { toAetherError, type ErrorBody } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock, Timer } from "../../env/clock.ts";
import type { Log } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey } from "../../kvstore/core/key.ts";
import { TXN_OPS_MAX } from "../../kvstore/core/limits.ts";
import type { Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { classOf } from "../../slices/core/call-failure.ts";
import type { DeadMessageRow, TopicMessageRow } from "../../slices/core/topic-row.ts";
import type { OutgoingCalls } from "../../slices/host/outgoing-calls.ts";
import { ownerOf } from "./core/message-share.ts";
import type { TopicMetrics } from "./metrics.ts";
import type { QueuedMessage } from "./core/topic-queue.ts";
import type { MembershipService } from "../membership/membership-service.ts";
import type { LeadingVersions } from "../rollouts/leading-versions.ts";
import { Wake } from "../wake.ts";
import type { TopicGroup, TopicView } from "./topic-view.ts";

export interface TopicDeliveryPorts {
  readonly kv: Pick<Kv, "transact">;
  readonly view: TopicView;
  readonly leading: Pick<LeadingVersions, "guards">;
  readonly metrics: TopicMetrics;
  readonly membership: Pick<MembershipService, "nodes" | "onChange">;
  readonly calls: OutgoingCalls;
  readonly onFatal: (error: unknown) => void;
}

/** Messages of one group that one node has handed out and that are not handled yet. */
export const DELIVERIES_MAX = 16;
/** Attempts of one message; then it is put aside. */
export const ATTEMPTS_MAX = 10;
/** Messages that are kept of those that were put aside, per group: the oldest go. */
export const DEAD_MESSAGES_MAX = 1_000;
const REST_MS_MIN = 100;
const REST_MS_MAX = 30 * SECOND_MS;
/** A group of which nobody could take a message rests as a whole. */
const GROUP_REST_MS = 250;
const LOOK_EVERY_MS = 5 * SECOND_MS;
const WRITE_MS_MAX = 5 * SECOND_MS;
/** For what was handed out when the node stops; then others do it again. */
const STOP_MS_MAX = 5 * SECOND_MS;

interface GroupWork {
  handedOut: number;
  rest: Timer | undefined;
}

export class TopicDelivery {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: TopicDeliveryPorts;
  private readonly self: NodeId;
  private readonly scope: TaskScope;
  private readonly wake: Wake;
  private readonly work = new Map<string, GroupWork>();
  private readonly rests = new Set<Timer>();
  private handedOut = 0;
  /** The nodes that share the messages, as the queues know them. */
  private sharers: readonly NodeId[] = [];
  private readonly shared = new WeakSet<TopicGroup["queue"]>();
  private isStopping = false;

  constructor(env: { readonly clock: Clock; readonly log: Log }, ports: TopicDeliveryPorts, self: NodeId) {
    this.clock = env.clock;
    this.log = env.log;
    this.ports = ports;
    this.self = self;
    this.wake = new Wake(env.clock);
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
    ports.view.subscribe(() => this.wake.notify());
    ports.membership.onChange(() => this.wake.notify());
  }

  start(): void {
    this.scope.spawn("topics", async (signal) => {
      for (;;) {
        await this.wake.wait(signal, LOOK_EVERY_MS);
        if (this.ports.view.isComplete && !this.isStopping) this.look();
      }
    });
  }

  /** Hands out nothing more, and waits for what was handed out, but not for long. */
  async stop(): Promise<void> {
    this.isStopping = true;
    const endMs = this.clock.nowMs() + STOP_MS_MAX;
    while (this.handedOut > 0 && this.clock.nowMs() < endMs) await this.clock.sleep(REST_MS_MIN / 10);
    await this.close();
  }

  async close(): Promise<void> {
    this.isStopping = true;
    for (const timer of this.rests) timer.cancel();
    this.rests.clear();
    await this.scope.close();
  }

  private look(): void {
    const groups = this.ports.view.groups();
    this.share(groups);
    this.ports.metrics.tell(groups);
    for (const group of groups) {
      if (group.handler.kind === "handles") this.handOut(group, group.handler.method);
      else if (group.handler.kind === "none") this.sweep(group);
    }
  }

  /** Only nodes on duty take part: one that leaves has others do it. */
  private share(groups: readonly TopicGroup[]): void {
    const onDuty = this.ports.membership.nodes.filter(({ status }) => status === "on-duty");
    const nodes = onDuty.map(({ node }) => node).sort();
    const isSame = nodes.join() === this.sharers.join();
    this.sharers = nodes;
    for (const { topic, group, queue } of groups) {
      if (isSame && this.shared.has(queue)) continue;
      this.shared.add(queue);
      queue.setShare((partition) => ownerOf(`${topic}/${group}/${partition}`, nodes) === this.self);
    }
  }

  private handOut(group: TopicGroup, method: string): void {
    const work = this.workOf(group);
    while (work.rest === undefined && work.handedOut < DELIVERIES_MAX) {
      const message = group.queue.take();
      if (message === undefined) return;
      work.handedOut += 1;
      this.handedOut += 1;
      this.scope.spawn("topic-message", (signal) => this.deliver({ group, method, message, work }, signal));
    }
  }

  private async deliver({ group, method, message, work }: Delivery, signal: AbortSignal): Promise<void> {
    const rest = await this.tryAttempt({ group, method, message, work }, signal);
    work.handedOut -= 1;
    this.handedOut -= 1;
    // Nothing rests any more where nothing is handed out.
    if (signal.aborted) return;
    this.settle(group, message, rest);
    if (rest === "group") this.restGroup(work);
    this.wake.notify();
  }

  private async tryAttempt(delivery: Delivery, signal: AbortSignal): Promise<Rest> {
    try {
      return await this.attempt(delivery, signal);
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      const { code, message: reason } = toAetherError(error);
      this.log.warn({ event: "topic.not-settled", key: delivery.message.text, code, reason });
      return "message";
    }
  }

  private async attempt({ group, method, message }: Delivery, signal: AbortSignal): Promise<Rest> {
    const reply = await this.ports.calls.call({
      slice: group.group,
      method,
      input: message.payload,
      idempotencyKey: `${group.topic}/${message.id}/${message.attempts}`,
      // The next attempt has a key of its own, and those behind this message wait for it.
      lostWhen: "suspected",
    }, signal);
    if (reply.kind === "ok") {
      // Once another attempt has begun, only how that one ends counts.
      if (!(await this.write([{ kind: "delete", key: message.text }], message))) return "message";
      this.ports.metrics.delivered.add(1, labelsOf(group));
      return "none";
    }
    if (signal.aborted || !hasReachedHandler(reply.error)) return "group";
    return await this.countAttempt(group, message, reply.error);
  }

  private async countAttempt(group: TopicGroup, message: QueuedMessage, error: ErrorBody): Promise<Rest> {
    const { key, payload, bytes } = message;
    const row: TopicMessageRow = { key, payload, bytes, attempts: message.attempts + 1 };
    if (row.attempts < ATTEMPTS_MAX) {
      await this.write([{ kind: "put", key: message.text, value: row }], message);
      this.ports.metrics.retried.add(1, labelsOf(group));
      return "message";
    }
    const { topic, group: name } = group;
    const value: DeadMessageRow = { ...row, error: { code: error.code, message: error.message } };
    const dead = formatKey({ kind: "topic-dead", topic, group: name, id: message.id });
    const oldest = group.dead.size >= DEAD_MESSAGES_MAX ? [...group.dead].slice(0, 1) : [];
    const gone = [message.text, ...oldest].map((text): Op => ({ kind: "delete", key: text }));
    if (!(await this.write([{ kind: "put", key: dead, value }, ...gone], message))) return "message";
    this.ports.metrics.givenUp.add(1, labelsOf(group));
    this.log.error({ event: "topic.message-given-up", key: dead, code: error.code, reason: error.message });
    return "none";
  }

  /** False when the message is not any more as it was seen: the view will tell. */
  private async write(then: readonly Op[], seen: QueuedMessage): Promise<boolean> {
    const compare = [unchanged(seen.text, seen.modRevision)];
    return (await this.ports.kv.transact({ compare, then, else: [] }, { timeoutMs: WRITE_MS_MAX })).succeeded;
  }

  private settle({ queue }: TopicGroup, message: QueuedMessage, rest: Rest): void {
    // What was written comes back by the view, perhaps only later: until then the message must not be taken again.
    if (rest === "none") queue.remove(message.text);
    if (rest !== "message") return queue.settle(message, "ready");
    queue.settle(message, "resting");
    const restMs = Math.min(REST_MS_MIN * 2 ** message.attempts, REST_MS_MAX);
    const timer = this.clock.setTimer(restMs, () => {
      this.rests.delete(timer);
      queue.settle(message, "ready");
      this.wake.notify();
    });
    this.rests.add(timer);
  }

  private restGroup(work: GroupWork): void {
    work.rest ??= this.clock.setTimer(GROUP_REST_MS, () => {
      if (work.rest !== undefined) this.rests.delete(work.rest);
      work.rest = undefined;
      this.wake.notify();
    });
    this.rests.add(work.rest);
  }

  /** The slice does not handle this topic any more: nobody will ever ask for what waits. */
  private sweep({ topic, group, leading, queue, dead }: TopicGroup): void {
    const work = this.workOf({ topic, group });
    if (work.handedOut > 0 || ownerOf(`${topic}/${group}`, this.sharers) !== this.self) return;
    const waiting = [...queue.messages()].map(({ text }) => text);
    const gone = [...waiting, ...dead].slice(0, TXN_OPS_MAX);
    if (gone.length === 0) return;
    work.handedOut += 1;
    this.scope.spawn("topic-sweep", async (signal) => {
      try {
        await this.ports.kv.transact({
          compare: [
            unchanged(formatKey({ kind: "topic-group", topic, group }), 0),
            ...(leading === undefined ? [] : this.ports.leading.guards(leading)),
          ],
          then: gone.map((key): Op => ({ kind: "delete", key })),
          else: [],
        }, { signal });
      } catch (error) {
        if (error instanceof AssertionError) throw error;
        // ignored: the next look finds them again.
      } finally {
        work.handedOut -= 1;
      }
    });
  }

  private workOf({ topic, group }: Pick<TopicGroup, "topic" | "group">): GroupWork {
    const label = `${topic}/${group}`;
    const work = this.work.get(label) ?? { handedOut: 0, rest: undefined };
    this.work.set(label, work);
    return work;
  }
}

function labelsOf({ topic, group }: TopicGroup): Readonly<Record<string, string>> {
  return { topic, group };
}

/** What has to rest after an attempt: nothing, the messages with this key, or the whole group. */
type Rest = "none" | "message" | "group";

interface Delivery {
  readonly group: TopicGroup;
  readonly method: string;
  readonly message: QueuedMessage;
  readonly work: GroupWork;
}

/** What no handler has seen waits for one, for as long as it takes; an input that is refused will always be refused. */
function hasReachedHandler(error: ErrorBody): boolean {
  const found = classOf(error);
  return found === "handler" || found === "no-answer" || error.code === "E_INVALID";
}
