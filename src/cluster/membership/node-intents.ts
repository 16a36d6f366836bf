// Owns: the rows `nodes/{node}/intent`: what people want of a node, written on their word.
// Does not own: following them (the node itself), what runs where (the leader).
import { AetherError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import { formatKey } from "../../kvstore/core/key.ts";
import type { Kv, KvCallOptions } from "../../kvstore/kv.ts";
import type { NodeIntentRow } from "../core/rows.ts";
import type { MembershipService } from "./membership-service.ts";

export interface NodeIntentPorts {
  readonly kv: Pick<Kv, "transact">;
  readonly membership: Pick<MembershipService, "nodes">;
}

export class NodeIntents {
  private readonly ports: NodeIntentPorts;

  constructor(ports: NodeIntentPorts) {
    this.ports = ports;
  }

  /**
   * From now on the node gets no instances, and those it has leave it once others serve in their place. Holds until
   * `cancelDrain`, also over restarts. Asking again is fine.
   * @throws AetherError E_NOT_FOUND; E_CONFLICT when no other node is on duty and `isForced` is not set.
   */
  async drain(node: NodeId, options: { readonly isForced: boolean } & KvCallOptions): Promise<void> {
    this.checkKnown(node);
    const others = this.ports.membership.nodes.filter((other) => other.node !== node && other.status === "on-duty");
    if (others.length === 0 && !options.isForced) {
      throw new AetherError(
        "E_CONFLICT",
        `no other node is on duty, so what runs on ${node} could not leave it; start another node, or force it`,
      );
    }
    await this.write(node, { want: "drained" }, options);
  }

  /** The node is wanted on duty again. @throws AetherError E_NOT_FOUND */
  async cancelDrain(node: NodeId, options: KvCallOptions): Promise<void> {
    this.checkKnown(node);
    await this.write(node, { want: "on-duty" }, options);
  }

  private checkKnown(node: NodeId): void {
    const { nodes } = this.ports.membership;
    if (nodes.some((one) => one.node === node)) return;
    const known = nodes.map((one) => one.node).join(", ");
    throw new AetherError("E_NOT_FOUND", `there is no node ${node}; there are ${known}`);
  }

  private async write(node: NodeId, row: NodeIntentRow, options: KvCallOptions): Promise<void> {
    const key = formatKey({ kind: "node-intent", node });
    await this.ports.kv.transact({ compare: [], then: [{ kind: "put", key, value: row }], else: [] }, options);
  }
}
