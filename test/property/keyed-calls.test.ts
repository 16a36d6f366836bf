// Owns: the promise of an idempotency key, whatever order callers, crashes and a failing store come in.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { IncomingReply } from "../../src/slices/host/running-instances.ts";
import { KeyedWorld, type Fate, type KeyedNode } from "../support/keyed-world.ts";

const KEYS = ["a", "b"];

type Act =
  | { readonly kind: "call"; readonly node: number; readonly key: number; readonly timeoutMs: number }
  | { readonly kind: "kill"; readonly node: number }
  | { readonly kind: "crash-worker"; readonly node: number }
  | { readonly kind: "store"; readonly mode: "deciding" | "no-quorum" | "silent" }
  | { readonly kind: "pass"; readonly durationMs: number };

const node = fc.nat(2);
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 6, arbitrary: fc.record({
    kind: fc.constant("call" as const), node, key: fc.nat(1), timeoutMs: fc.constantFrom(5, 100, 3_000),
  }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("kill" as const), node }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("crash-worker" as const), node }) },
  { weight: 1, arbitrary: fc.record({
    kind: fc.constant("store" as const), mode: fc.constantFrom("deciding" as const, "no-quorum", "silent"),
  }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("pass" as const), durationMs: fc.nat(300) }) },
);
/** What becomes of the uses of the store, one after the other; then all go well. */
const fates = fc.array(fc.constantFrom<Fate>("done", "done", "done", "done", "unanswered", "killed-after"), {
  maxLength: 12,
});

interface Answer {
  readonly key: string;
  readonly reply: IncomingReply;
}

async function play(world: KeyedWorld, acts: readonly Act[], tape: Fate[]): Promise<readonly Answer[]> {
  const names = ["n1", "n2", "n3"];
  const answers: Answer[] = [];
  const fateOf = (): Fate => tape.shift() ?? "done";
  const start = (name: string): KeyedNode => Object.assign(world.start(name), { fateOf });
  const nodes = names.map(start);
  const replaceDead = (): void => nodes.forEach((found, index) => {
    if (found.isAlive) return;
    world.declareEnded(found.life);
    nodes[index] = start(names[index] ?? "");
  });
  for (const next of acts) {
    replaceDead();
    if (next.kind === "pass") await world.clock.advance(next.durationMs);
    else if (next.kind === "store") world.local.group.setMode(next.mode);
    else if (next.kind === "kill") nodes[next.node]?.kill();
    else if (next.kind === "crash-worker") nodes[next.node]?.crashWorker();
    else {
      const idempotencyKey = KEYS[next.key] ?? "";
      const call = nodes[next.node]?.place({ idempotencyKey, timeoutMs: next.timeoutMs });
      void call?.then((reply) => answers.push({ key: idempotencyKey, reply }));
    }
  }
  world.local.group.setMode("deciding");
  tape.length = 0;
  await world.clock.advance(30_000);
  replaceDead();
  // In the end everybody who asks is told.
  for (const key of [...KEYS, ...KEYS]) {
    const reply = await world.settled(nodes[0]?.place({ idempotencyKey: key }) ?? Promise.reject(new RangeError()));
    answers.push({ key, reply });
  }
  return answers;
}

test("a key's handler runs at most once, and every answer with it is the same (K1, K2, K3)", async () => {
  await fc.assert(fc.asyncProperty(fc.array(act, { maxLength: 25 }), fates, async (acts, tape) => {
    const world = await KeyedWorld.open();
    const answers = await play(world, acts, [...tape]);
    for (const key of KEYS) {
      expect(world.runs.filter((run) => run === key).length).toBeLessThanOrEqual(1);
      const mine = answers.filter((answer) => answer.key === key).map(({ reply }) => reply);
      const outputs = new Set(mine.flatMap((reply) => (reply.kind === "ok" ? JSON.stringify(reply.output) : [])));
      expect(outputs.size).toBeLessThanOrEqual(1);
      const [last, beforeLast] = mine.slice(-2);
      if (last?.kind !== "ok") expect(last).toMatchObject({ error: { details: { isFinal: true } } });
      expect(last?.kind).toBe(beforeLast?.kind);
    }
    expect(world.fatal).toEqual([]);
    await world.close();
  }), { numRuns: 60 });
});
