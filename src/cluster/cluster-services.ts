// Owns: opening and closing the services of the cluster in their order; the one thing that `node` wires of this area.
//
// Two steps, because the parts need each other: after construction the registry answers (with nothing yet) and the
// channel "cluster" has its receiver, so calls and slices can be built on it; `start` then takes what runs instances.
import type { NodeId, NodeUid } from "../base/ids.ts";
import type { Clock } from "../env/clock.ts";
import type { Telemetry } from "../env/telemetry.ts";
import type { PeerMessaging } from "../net/peer-messaging.ts";
import type { Group, GroupMembership } from "../consensus/group.ts";
import type { Kv } from "../kvstore/kv.ts";
import { ArtifactRemoval, type PinnedArtifacts } from "../slices/artifacts/artifact-removal.ts";
import type { Outlook } from "../slices/core/blueprint-status.ts";
import type { InstanceHost } from "../slices/host/instance-host.ts";
import type { OutgoingCalls } from "../slices/host/outgoing-calls.ts";
import { ArtifactCollector, ArtifactsConfig } from "./leadership/artifact-collector.ts";
import { ClusterDeploymentManager, type LateRolloutSaid } from "./deployment/cluster-deployment-manager.ts";
import { ClusterViews } from "./cluster-views.ts";
import { plan } from "./deployment/core/reconcile.ts";
import { EndpointRegistry } from "./endpoints/endpoint-registry.ts";
import { INSTANCE_TIME_LIMITS, type InstanceTimeLimits } from "./deployment/instance-driver.ts";
import { LeadershipService } from "./leadership/leadership-service.ts";
import { MembershipService, type MembershipConfig } from "./membership/membership-service.ts";
import { type InstanceStopLimits, NodeDeploymentManager } from "./deployment/node-deployment-manager.ts";
import { NodeIntents } from "./membership/node-intents.ts";
import { planInputOf } from "./deployment/plan-input.ts";
import { CallTallies } from "./rollouts/call-tallies.ts";
import { LeadingVersions } from "./rollouts/leading-versions.ts";
import { RouteTable } from "./endpoints/route-table.ts";
import { Topics } from "./topics/topics.ts";

export interface ClusterServicesEnv {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export interface ClusterServicesPorts {
  readonly kv: Kv;
  readonly messaging: PeerMessaging;
  readonly group: Pick<Group, "status"> & Pick<GroupMembership, "membership" | "onMembership">;
  /** For messages of topics; nobody calls before `start`. */
  readonly calls: OutgoingCalls;
  /** What jobs hold artifacts by. */
  readonly pins?: PinnedArtifacts;
  /** Jobs that this node has. */
  readonly jobsHere?: () => number;
  readonly onLateRollout?: LateRolloutSaid;
  /** A broken invariant of ours: the node flushes and stops. */
  readonly onFatal: (error: unknown) => void;
}

export interface ClusterServicesConfig extends MembershipConfig {
  readonly node: NodeId;
  readonly uid: NodeUid;
  readonly limits?: InstanceTimeLimits;
  readonly stop?: InstanceStopLimits;
  readonly artifacts?: ArtifactsConfig;
}

export class ClusterServices {
  readonly membership: MembershipService;
  readonly leadership: LeadershipService;
  readonly registry: EndpointRegistry;
  readonly tallies: CallTallies;
  readonly leading: LeadingVersions;
  readonly routes: RouteTable;
  readonly removal: ArtifactRemoval;
  readonly intents: NodeIntents;
  readonly topics: Topics;
  private readonly env: ClusterServicesEnv;
  private readonly ports: ClusterServicesPorts;
  private readonly config: ClusterServicesConfig;
  private readonly views: ClusterViews;
  private readonly leaderLoop: ClusterDeploymentManager;
  private readonly collector: ArtifactCollector;
  private nodeLoop: NodeDeploymentManager | undefined;

  constructor(env: ClusterServicesEnv, ports: ClusterServicesPorts, config: ClusterServicesConfig) {
    const { kv, group, messaging, calls, pins, jobsHere, onFatal } = ports;
    const { node, uid, incarnation } = config;
    this.env = env;
    this.ports = ports;
    this.config = config;
    this.views = new ClusterViews({ clock: env.clock, log: env.telemetry.log }, kv);
    this.leading = new LeadingVersions(this.views);
    this.routes = new RouteTable({ clock: env.clock, log: env.telemetry.log }, kv, this.leading);
    this.tallies = new CallTallies(this.views.rollouts);
    const { views, tallies } = this;
    this.membership = new MembershipService(env, {
      kv, messaging, group, views, tallies, onFatal, ...(jobsHere === undefined ? {} : { jobsHere }),
    }, config);
    this.intents = new NodeIntents({ kv, membership: this.membership });
    const life = { node, uid, incarnation };
    this.topics = new Topics(env, { kv, membership: this.membership, leading: this.leading, calls, onFatal }, life);
    this.leadership = new LeadershipService(env, { kv, group, views: this.views, onFatal }, { self: life });
    const { membership, leading } = this;
    this.registry = new EndpointRegistry({ kv, views, leading, membership, self: node });
    this.leaderLoop = new ClusterDeploymentManager(env, {
      kv,
      views: this.views,
      leadership: this.leadership,
      membership: this.membership,
      tallies,
      onLateRollout: ports.onLateRollout ?? (() => {}),
      onFatal,
    }, config);
    this.removal = new ArtifactRemoval({
      kv, pause: () => env.clock.sleep(0), ...(pins === undefined ? {} : { pins }),
    });
    const artifacts = config.artifacts ?? ArtifactsConfig.parse({});
    const { removal, leadership } = this;
    this.collector = new ArtifactCollector(env, { removal, leadership, onFatal }, artifacts);
  }

  /** Begins to listen, lead and drive instances on `host`. Needs no quorum: everything waits for one by itself. */
  start(host: InstanceHost): void {
    const { kv, group, onFatal } = this.ports;
    this.nodeLoop = new NodeDeploymentManager(
      this.env,
      { kv, host, group, views: this.views, membership: this.membership, onFatal },
      this.config,
    );
    this.views.open();
    this.routes.open();
    this.topics.start();
    this.membership.start();
    this.leadership.start();
    this.leaderLoop.start();
    this.collector.start();
    this.nodeLoop.start();
  }

  /** What blueprints want, as this node sees it. */
  get blueprintViews(): Pick<
    ClusterViews, "isComplete" | "currentBlueprints" | "unreadableBlueprints" | "blueprints" | "rollouts"
  > {
    return this.views;
  }

  /** What scaling goes by, as this node sees it. */
  get controlViews(): Pick<
    ClusterViews,
    | "isComplete" | "currentBlueprints" | "unreadableBlueprints" | "blueprints" | "rollouts" | "scales" | "scaleOf"
    | "slices"
  > {
    return this.views;
  }

  /** How many instances have a row on this node. */
  instancesOn(node: NodeId): number {
    return this.views.instancesOn(node);
  }

  /** What cannot come about now, as this node sees it: every node can make the leader's plan. */
  outlook(): Outlook {
    const { views, membership, tallies } = this;
    if (!views.isComplete) return { unplaced: [], waiting: [] };
    const limits = this.config.limits ?? INSTANCE_TIME_LIMITS;
    const nowMs = membership.wallMs();
    return plan(planInputOf({ views, membership, tallies }, limits, (_key, _revision, sinceMs) => nowMs - sinceMs));
  }

  /** For an orderly end: own endpoints away, calls in flight answered (bounded), workers ended. Then `close`. */
  async drainAndStop(): Promise<void> {
    await this.topics.stop();
    await this.collector.close();
    await this.leaderLoop.close();
    // Who no longer acts as the leader must not hold the place while calls in flight are waited for.
    await this.leadership.close();
    await this.nodeLoop?.drainAndStop();
  }

  async close(): Promise<void> {
    await this.topics.close();
    await this.nodeLoop?.close();
    await this.collector.close();
    await this.leaderLoop.close();
    await this.leadership.close();
    await this.membership.close();
    await this.routes.close();
    await this.views.close();
  }
}
