// Owns: when the simulated world moves: while somebody waits for something in it, and at no other time. Between two
// waits of a test the world stands still.
import { createDeferred } from "../base/deferred.ts";
import { AetherError } from "../base/errors.ts";
import { parseNodeId } from "../base/ids.ts";
import { SimProcess } from "./sim/sim-process.ts";
import type { World } from "./sim/world.ts";

interface Waiting {
  readonly reject: (error: unknown) => void;
}

export class WorldPump {
  private readonly world: World;
  private readonly waiting = new Set<Waiting>();
  private isRunning = false;
  private ended: AetherError | undefined;

  constructor(world: World) {
    this.world = world;
    // The test itself is something that waits for promises, also while no node runs.
    world.spawn(new SimProcess(parseNodeId("test"), 1), () => new Promise(() => undefined));
  }

  /**
   * Moves the world until `work` has settled. The promise may be left alone for a while, as a call that a test awaits
   * only after it has cut a cable: its rejection counts as handled.
   * @throws AetherError E_TIMEOUT after `limitMs` of virtual time; what ends the world
   */
  drive<T>(work: () => Promise<T>, limitMs: number, what: string): Promise<T> {
    const { promise, resolve, reject } = createDeferred<T>();
    if (this.ended !== undefined) {
      reject(this.ended);
    } else {
      const waiting: Waiting = { reject };
      this.waiting.add(waiting);
      const limit = this.world.schedule({ delayMs: limitMs, kind: "limit" }, () => reject(tookTooLong(what, limitMs)));
      work().then(resolve, reject);
      const settle = (): void => {
        this.waiting.delete(waiting);
        limit.isCancelled = true;
      };
      // First of its listeners: when the caller goes on, this one is not counted any more.
      void promise.then(settle, settle);
      if (!this.isRunning) void this.run();
    }
    return promise;
  }

  /** The world stands still for good; who waits is told why. */
  end(error: AetherError): void {
    this.ended ??= error;
    for (const { reject } of this.waiting) reject(this.ended);
  }

  private async run(): Promise<void> {
    this.isRunning = true;
    while (this.waiting.size > 0 && this.ended === undefined) {
      await this.world.run(() => this.waiting.size === 0 || this.ended !== undefined, Number.POSITIVE_INFINITY);
      if (this.world.failure !== undefined) this.end(worldFailed(this.world));
    }
    this.isRunning = false;
  }
}

function tookTooLong(what: string, limitMs: number): AetherError {
  return new AetherError("E_TIMEOUT", `${what} did not come to its end within ${limitMs} ms of virtual time`);
}

function worldFailed({ failure, seed, nowMs }: World): AetherError {
  const reason = failure instanceof Error ? failure.message : String(failure);
  const where = `seed ${seed}, ${nowMs.toFixed(0)} ms of virtual time`;
  const message = `a node of the test cluster failed (${where}): ${reason}; this is a fault of aether: report it`;
  return new AetherError("E_INTERNAL", message, { cause: failure });
}
