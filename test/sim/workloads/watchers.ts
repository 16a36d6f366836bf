// Owns: clients that watch: each follows a prefix on some node, moves now and then, and goes on at another node when it
// loses its own, from the revision that it has seen.
// Does not own: whether what it is shown is right (watch-checker.ts).
import { AetherError } from "../../../src/base/errors.ts";
import type { NodeId } from "../../../src/base/ids.ts";
import type { Random } from "../../../src/base/random.ts";
import type { KvWatch, KvWatchHandlers, KvWatchOptions } from "../../../src/kvstore/kv.ts";
import type { World } from "../../../src/testkit/sim/world.ts";
import type { WatchChecker, WatchPlace } from "../checkers/watch-checker.ts";

/** What one watcher does. */
export interface WatcherScript {
  readonly prefix: string;
  /** It stays on a node for so long, about; longer when nobody else is up. */
  readonly stayMs: number;
  /** It often cannot take what it is shown at once. */
  readonly isSlow: boolean;
}

/** One process as watchers reach it. */
export interface WatchService {
  readonly revision: number;
  watch(prefix: string, handlers: KvWatchHandlers, options: KvWatchOptions): KvWatch;
}

export interface WatchersConfig {
  readonly scripts: readonly WatcherScript[];
  readonly nodes: readonly NodeId[];
  /** Undefined while the node is down. */
  readonly serviceOf: (node: NodeId) => WatchService | undefined;
  readonly checker: WatchChecker;
}

interface Watcher extends WatchPlace {
  readonly script: WatcherScript;
  readonly random: Random;
  /** Where it watches now. */
  current: { readonly node: NodeId; readonly service: WatchService; readonly watch: KvWatch } | undefined;
  leavesAtMs: number;
}

/** How soon a watcher notices that its node is gone. */
const LOOK_MS_MIN = 20;
const LOOK_MS_SPAN = 200;
/** How long a node that is behind the watcher may take to get there. */
const BEHIND_MS_MAX = 700;

export class Watchers {
  private readonly world: World;
  private readonly config: WatchersConfig;
  private readonly watchers: readonly Watcher[];

  constructor(world: World, config: WatchersConfig) {
    this.world = world;
    this.config = config;
    this.watchers = config.scripts.map((script, index) => {
      const name = `watcher ${index}`;
      const start = { next: 1, current: undefined, leavesAtMs: 0 };
      return { name, prefix: script.prefix, script, random: world.random.fork(name), ...start };
    });
  }

  /** All have seen all there is. */
  get isComplete(): boolean {
    return this.watchers.every((watcher) => this.config.checker.isComplete(watcher));
  }

  start(): void {
    for (const watcher of this.watchers) this.look(watcher);
  }

  private look(watcher: Watcher): void {
    const { current, random } = watcher;
    const delayMs = LOOK_MS_MIN + random.next() * LOOK_MS_SPAN;
    this.world.schedule({ delayMs, kind: "watcher" }, () => this.look(watcher));
    const isThere = current !== undefined && this.config.serviceOf(current.node) === current.service;
    if (isThere && this.world.nowMs < watcher.leavesAtMs) return;
    if (isThere) current.watch.cancel();
    watcher.current = undefined;
    const { nodes } = this.config;
    const node = nodes[random.below(nodes.length)];
    const service = node === undefined ? undefined : this.config.serviceOf(node);
    if (node !== undefined && service !== undefined) this.watchOn(watcher, node, service);
  }

  private watchOn(watcher: Watcher, node: NodeId, service: WatchService): void {
    const { checker } = this.config;
    const { script, random, next, prefix } = watcher;
    watcher.leavesAtMs = this.world.nowMs + script.stayMs * (0.5 + random.next());
    if (next > 1) checker.stats.watchesResumed += 1;
    const handlers: KvWatchHandlers = {
      onChanges: (set) => checker.shown(watcher, set),
      onProgress: (revision) => checker.progressed(watcher, revision),
      isFull: () => script.isSlow && random.below(2) === 0,
      onEnd: (reason) => this.ended(watcher, reason),
    };
    const watch = service.watch(prefix, handlers, { fromRevision: next, timeoutMs: BEHIND_MS_MAX });
    if (random.below(2) === 0) watch.requestProgress();
    watcher.current = { node, service, watch };
  }

  private ended(watcher: Watcher, reason: Error): void {
    watcher.current = undefined;
    if (!(reason instanceof AetherError)) throw reason;
    if (reason.code !== "E_COMPACTED") return;
    // Not where the node's state is by now: one that it found damaged is set aside.
    const { from, oldest, revision } = reason.details;
    this.config.checker.compacted(watcher, {
      from: Number(from),
      oldest: Number(oldest),
      revision: Number(revision),
    });
  }
}
