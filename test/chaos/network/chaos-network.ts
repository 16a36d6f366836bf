// Ports only: the network between the nodes of a chaos run, and what can be done to it.
import type { LaunchOptions } from "../../support/node-fleet.ts";

/** From one node to another, one way. */
export interface Direction {
  readonly from: string;
  readonly to: string;
}

export interface ChaosNetwork {
  /** What it is, for the report. */
  readonly description: string;
  /** What cannot be done here, and why. */
  readonly limits: readonly string[];
  /** Where `node` listens for peers. */
  listen(node: string): string;
  /** Where `from` reaches `to`. */
  peer(link: Direction): string;
  api(node: string): string;
  launchOf(node: string): LaunchOptions;
  /** Nothing gets through any more in these directions; nobody is told. */
  cut(directions: readonly Direction[]): Promise<void>;
  /** What this node sends is late, and some of it lost. */
  slow(node: string): Promise<void>;
  /** Undoes everything. */
  heal(): Promise<void>;
  close(): Promise<void>;
}
