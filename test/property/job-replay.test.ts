// Owns: a log that a run has made gives another run the same, in the same order, and nothing of it is done again.
import fc from "fast-check";
import { expect, test } from "vitest";
import { SeededRandom, type Random } from "../../src/base/random.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { AgentHost } from "../support/agent-host.ts";
import { agentOf, observe, programs, type Observed, type Program } from "../support/mini-programs.ts";

const MOVES_MAX = 400;
const RUNS = { numRuns: 100 };

interface Played {
  readonly host: AgentHost;
  readonly observed: Observed;
}

/** Runs a program, from a log, against a world that does what comes to mind; ends with the run, or in the middle. */
async function playLive(program: Program, random: Random, log: readonly JobEvent[] = []): Promise<Played> {
  const observed = observe();
  const host = new AgentHost({ agent: agentOf(program, observed), log });
  for (let move = 0; move < MOVES_MAX; move += 1) {
    await host.clock.settle();
    if (host.isEnded) break;
    const moves = movesOf(host, observed, random);
    moves[random.below(moves.length)]?.();
  }
  return { host, observed };
}

function movesOf(host: AgentHost, observed: Observed, random: Random): readonly (() => void)[] {
  const moves: (() => void)[] = [];
  if (host.uncommitted > 0) moves.push(() => host.commit(1 + random.below(host.uncommitted)));
  for (const [at, { end }] of observed.open.entries()) {
    moves.push(() => {
      observed.open.splice(at, 1);
      end(random.below(100));
    });
  }
  for (const [call, wait] of host.waits) {
    // What is not committed is not known to whoever fires timers, but an offer that comes early does no harm.
    const isTimed = wait.kind === "timer" || (wait.kind === "signal" && wait.untilMs !== undefined);
    if (isTimed) moves.push(() => host.offer({ kind: "timer-fired" }, call));
    if (wait.kind === "signal") moves.push(() => host.offer({ kind: "signal", payload: random.below(100) }, call));
  }
  for (const call of host.unknown) {
    moves.push(() => host.resolve(call, { kind: "done", result: random.below(100) }));
    moves.push(() => host.resolve(call, { kind: "not-done" }));
    if (random.below(5) === 0) moves.push(() => host.resolve(call, { kind: "given-up", reason: "too old" }));
  }
  if (random.below(30) === 0) moves.push(() => host.offer({ kind: "cancel" }));
  return moves;
}

function seenBefore(whole: readonly string[], part: readonly string[]): void {
  expect(whole.slice(0, part.length)).toEqual(part);
}

test("a whole log gives another run the same, and nothing is done again (JOB8)", async () => {
  await fc.assert(fc.asyncProperty(programs, fc.nat(), async (program, seed) => {
    const live = await playLive(program, new SeededRandom(seed));
    expect(live.host.diverged).toBeUndefined();
    live.host.commit();
    if (live.host.end === undefined || live.host.log.length === 0) return;
    const observed = observe();
    const again = new AgentHost({ agent: agentOf(program, observed), log: live.host.log });
    await again.clock.settle();
    expect(again.diverged).toBeUndefined();
    expect(observed.seen).toEqual(live.observed.seen);
    expect(observed.begun).toEqual([]);
    // A wait without end that nothing came of is in no log.
    expect(again.told.filter(({ kind }) => kind !== "want-wait")).toEqual([live.host.end]);
  }), RUNS);
});

test("a run that ends anywhere is gone on with from its log, which it never contradicts (JOB8)", async () => {
  await fc.assert(fc.asyncProperty(programs, fc.nat(), fc.nat(), async (program, seed, cut) => {
    const random = new SeededRandom(seed);
    const first = await playLive(program, random.fork("first"));
    const log = first.host.log.slice(0, cut % (first.host.log.length + 1));
    const second = await playLive(program, random.fork("second"), log);
    expect(second.host.diverged).toBeUndefined();
    expect(second.host.log.slice(0, log.length)).toEqual(log);
    const third = observe();
    const host = new AgentHost({ agent: agentOf(program, third), log: second.host.log });
    await host.clock.settle();
    expect(host.diverged).toBeUndefined();
    if (second.host.end !== undefined) {
      seenBefore(second.observed.seen, third.seen);
    }
  }), RUNS);
});
