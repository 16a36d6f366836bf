// Slow. Watches and listings while nodes are killed: real processes, real disks.
import { expect, onTestFinished, test } from "vitest";
import { connect, type Client } from "../../src/client/connect.ts";
import type { KvChangeSet } from "../../src/kvstore/core/schema.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { WriteLoad } from "./support/write-load.ts";

const PREFIX = "data/load/";

/** What one watcher saw: a line per change. */
class Follower {
  readonly lines: string[] = [];
  readonly ends: Error[] = [];
  private revision = 0;

  static async open(client: Client, fromRevision?: number): Promise<Follower> {
    const follower = new Follower();
    const handlers = {
      onChanges: (set: KvChangeSet) => follower.take(set),
      onEnd: (reason: Error) => void follower.ends.push(reason),
    };
    await client.kv.watch(PREFIX, handlers, fromRevision === undefined ? {} : { fromRevision });
    return follower;
  }

  private take({ revision, changes }: KvChangeSet): void {
    if (revision <= this.revision) this.ends.push(new Error(`revision ${revision} came after ${this.revision}`));
    this.revision = revision;
    for (const change of changes) {
      this.lines.push(`${revision} ${change.kind === "put" ? change.entry.key : `-${change.key}`}`);
    }
  }
}

function connectTo(fleet: NodeFleet): Client {
  const client = connect({ nodes: fleet.apis });
  onTestFinished(() => client.close());
  return client;
}

test("watches outlive kill -9 of every node in turn: nothing lost, nothing twice, on whatever node", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const followers = await Promise.all([1, 2, 3].map(() => Follower.open(connectTo(fleet))));
  const load = new WriteLoad(fleet);
  load.start();
  for (let round = 0; round < 2; round++) {
    for (const name of fleet.names) {
      await load.progress();
      await fleet.kill(name);
      await load.progress();
      await fleet.start(name);
    }
  }
  await fleet.kill(...fleet.names);
  await fleet.startAll();
  await load.progress();
  await load.stop();
  await load.expectOnEveryNode();
  // Each node holds the whole past, restarts or not, and tells the same of it.
  const complete = await Promise.all(fleet.apis.map((api) => allChanges(api)));
  for (const told of complete) expect(told).toEqual(complete[0]);
  const wanted = complete[0] ?? [];
  expect(wanted.length).toBeGreaterThanOrEqual(load.acknowledged.size);
  for (const follower of followers) {
    await eventually("the watcher has seen all", () => follower.lines.length >= wanted.length || undefined);
    expect(follower.ends).toEqual([]);
    expect(follower.lines).toEqual(wanted);
  }
});

test("a listing of 5,000 keys under writes is of one revision", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const client = connectTo(fleet);
  const key = (at: number): string => `data/sum/${String(at).padStart(4, "0")}`;
  const values = Array.from({ length: 5_000 }, () => 0);
  const write = async (places: readonly number[]): Promise<void> => {
    const then = places.map((at) => ({ kind: "put" as const, key: key(at), value: values[at] }));
    await client.kv.transact({ compare: [], then });
  };
  for (let at = 0; at < values.length; at += 100) await write(Array.from({ length: 100 }, (_, next) => at + next));
  // Each transaction moves something from one key to another: the sum is 0 at every revision, and at no other time.
  let isOver = false;
  let moves = 0;
  const moving = (async () => {
    for (; !isOver; moves++) {
      const [from, to] = [(moves * 37) % 5_000, 4_999 - ((moves * 53) % 5_000)];
      if (from === to) continue;
      values[from] = (values[from] ?? 0) - 1;
      values[to] = (values[to] ?? 0) + 1;
      await write([from, to]);
    }
  })();
  const reader = connectTo(fleet);
  for (let round = 0; round < 5; round++) {
    const before = moves;
    const found: number[] = [];
    for await (const { value } of reader.kv.entries("data/sum/")) found.push(Number(value));
    expect([found.length, found.reduce((sum, value) => sum + value, 0)]).toEqual([5_000, 0]);
    await eventually("it is written meanwhile", () => moves > before || undefined);
  }
  isOver = true;
  await moving;
});

/** Everything below the prefix from the first revision on, as one node tells it. */
async function allChanges(api: string): Promise<string[]> {
  const client = connect({ nodes: [api], discovery: "off" });
  const lines: string[] = [];
  const { body } = await ask(`${api}/v1/cluster`);
  const { revision } = body as { readonly revision: number };
  let seen = 0;
  const watch = await client.kv.watch(
    PREFIX,
    {
      onChanges: ({ changes }) => {
        for (const change of changes) {
          if (change.kind === "put") lines.push(`${change.entry.modRevision} ${change.entry.key}`);
        }
      },
      onProgress: (upTo) => (seen = upTo),
      onEnd: (reason) => expect.fail(reason.message),
    },
    { fromRevision: 1 },
  );
  await eventually("everything was told", () => {
    watch.requestProgress();
    return seen >= revision || undefined;
  });
  watch.cancel();
  client.close();
  return lines;
}
