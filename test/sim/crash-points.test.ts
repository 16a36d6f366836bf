// Every step of a short run is a place to crash: they are enumerated, not drawn.
import { describe, expect, test } from "vitest";
import type { NodeId } from "../../src/base/ids.ts";
import type { Violation } from "./checkers/violations.ts";
import { ScriptedRun } from "./scripted-run.ts";

const PUTS = 8;

interface CrashRun {
  readonly violation: Violation | undefined;
  readonly moments: number;
}

/** Crashes `victimsOf(nodes)` right after the step number `at` of the protocol, and starts them again. */
async function runWithCrash(at: number, victimsOf: (nodes: readonly NodeId[]) => readonly NodeId[]): Promise<CrashRun> {
  const run = new ScriptedRun(at, 3, (moment) => {
    if (moment === at) run.crashSoon(victimsOf(run.cluster.nodes));
  });
  await run.form();
  await run.put(PUTS);
  const violation = await run.settleAndJudge();
  return { violation, moments: run.moments };
}

async function crashEverywhere(victimsOf: (nodes: readonly NodeId[]) => readonly NodeId[]): Promise<number> {
  const { moments } = await runWithCrash(Infinity, victimsOf);
  for (let at = 1; at <= moments; at += 1) {
    const { violation } = await runWithCrash(at, victimsOf);
    expect(violation, `crash after step ${at}: ${violation?.message ?? ""}`).toBeUndefined();
  }
  return moments;
}

describe("at every step of the protocol", () => {
  test("the convener may crash and come back", async () => {
    expect(await crashEverywhere((nodes) => nodes.slice(0, 1))).toBeGreaterThan(50);
  });

  test("a follower may crash and come back", async () => {
    expect(await crashEverywhere((nodes) => nodes.slice(2))).toBeGreaterThan(50);
  });

  test("a majority may crash and come back", async () => {
    expect(await crashEverywhere((nodes) => nodes.slice(0, 2))).toBeGreaterThan(50);
  });

  test("the power of all nodes may fail: no acknowledged write is lost", async () => {
    expect(await crashEverywhere((nodes) => nodes)).toBeGreaterThan(50);
  });
});
