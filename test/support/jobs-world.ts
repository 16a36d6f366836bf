// Owns: the world of a story about jobs: a clock that the test moves, a real store with the agents' pin, and nodes over
// it. Begun anew as often as the story is told.
import { present } from "../../src/base/assert.ts";
import type { KvStore } from "../../src/kvstore/kv-store.ts";
import type { Agent } from "../../src/sdk/agent.ts";
import { putPin } from "./job-log.ts";
import { JobNode, type JobNodeOptions } from "./job-node.ts";
import { createLocalKv, type LocalKv } from "./local-kv.ts";
import { ManualClock } from "./manual-clock.ts";

interface Begun {
  readonly clock: ManualClock;
  readonly local: LocalKv;
  readonly nodes: JobNode[];
}

export class JobsWorld {
  private readonly agents: readonly Agent[];
  private begun: Begun | undefined;

  constructor(agents: readonly Agent[]) {
    this.agents = agents;
  }

  get clock(): ManualClock {
    return this.now.clock;
  }

  get kv(): KvStore {
    return this.now.local.kv;
  }

  /** What was before is gone. */
  async begin(): Promise<void> {
    await this.close();
    this.begun = { clock: new ManualClock(), local: await createLocalKv(), nodes: [] };
    await putPin(this.kv);
  }

  openNode(name: string, over: Partial<Omit<JobNodeOptions, "name" | "clock">> = {}): JobNode {
    const { clock, local: { kv }, nodes } = this.now;
    const node = new JobNode({ name, clock, kv, agents: this.agents, ...over });
    nodes.push(node);
    return node;
  }

  async close(): Promise<void> {
    if (this.begun === undefined) return;
    const { local, nodes } = this.begun;
    this.begun = undefined;
    for (const node of nodes) await node.close(local.kv);
    await local.close();
  }

  private get now(): Begun {
    return present(this.begun, "the world has begun");
  }
}
