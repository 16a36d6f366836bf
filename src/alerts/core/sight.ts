// Ports only: no code here. What rules judge: the cluster as its leader sees it, or a node as it sees itself.
import type { Facts } from "../../metrics/core/facts.ts";

export interface NodeSight {
  readonly node: string;
  /** It is met by most, and takes part. */
  readonly isHere: boolean;
  /** What it reported last; undefined while it does not report. */
  readonly facts: Facts | undefined;
  /** Slots that are decided and that it has not applied; undefined while it does not say. */
  readonly slotsBehind: number | undefined;
  /** The highest version of a cluster that its build can work with; undefined while it is not heard. */
  readonly supportedVersion: number | undefined;
}

export interface SliceSight {
  readonly slice: string;
  /** Instances that serve, and that have to. */
  readonly active: number;
  readonly needed: number;
  /** How often the same instance failed within `FAILURES_WITHIN_MS`, at most. */
  readonly failures: number;
}

export interface MethodSight {
  readonly slice: string;
  readonly method: string;
}

export interface ClusterSight {
  /** Members of the cluster. */
  readonly nodes: readonly NodeSight[];
  /** Undefined while blueprints and instances are not known. */
  readonly slices: readonly SliceSight[] | undefined;
  /** Those that were called lately; of a second without a call their series have no value. */
  readonly methods: readonly MethodSight[];
  /** The cluster's facts; undefined before the first report. */
  readonly facts: Facts;
  /** One number over the newest part of a series of metrics; undefined when it has none. */
  over(series: string, windowMs: number, reduction: "sum" | "mean" | "max"): number | undefined;
}

/** What a node knows without anybody else. */
export interface OwnSight {
  readonly node: string;
  readonly quorum: { readonly need: number; readonly have: number };
  /** Whether it knows who leads; undefined while it is behind, and others may know. */
  readonly knowsLeader: boolean | undefined;
  /** What it measured last; undefined before the first second. */
  readonly facts: Facts | undefined;
}
