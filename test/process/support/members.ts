// Owns: the members of a fleet as its nodes see them.
import { ask, type NodeFleet } from "../../support/node-fleet.ts";

export interface SeenNode {
  readonly id: string;
  readonly role: string;
  readonly isLost: boolean;
  readonly status: string;
  readonly directory: string | null;
}

export async function seen(fleet: NodeFleet, name: string, through = "n1"): Promise<SeenNode | undefined> {
  const { nodes } = (await ask(`${fleet.api(through)}/v1/cluster`)).body as { readonly nodes: readonly SeenNode[] };
  return nodes.find(({ id }) => id === name);
}

/** Names the node's data directory for changes of the members. */
export async function directoryOf(fleet: NodeFleet, name: string): Promise<string> {
  return (await seen(fleet, name))?.directory ?? "";
}
