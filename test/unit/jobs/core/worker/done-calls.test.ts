// Owns: which calls of a log are to be looked at after a take-over.
import { describe, expect, test } from "vitest";
import { parseArtifactId, type Digest, type NodeId } from "../../../../../src/base/ids.ts";
import type { CallName, EffectId } from "../../../../../src/jobs/core/ids.ts";
import type { JobEvent } from "../../../../../src/jobs/core/log/event.ts";
import { doneBeforeTakeOver } from "../../../../../src/jobs/core/worker/done-calls.ts";

const claimed: JobEvent = { type: "job.claimed", node: "n1" as NodeId, incarnation: 1 };
const created: JobEvent = {
  type: "job.created", agent: "a", pin: "0".repeat(64) as Digest, inputDigest: "0".repeat(64) as Digest,
};

const moved: JobEvent = {
  type: "job.moved", from: "1".repeat(64) as Digest, to: "2".repeat(64) as Digest, principal: "ann",
  fromArtifact: parseArtifactId("demo:payer:1.0.0"), toArtifact: parseArtifactId("demo:payer:1.0.1"),
};

function call(name: string): { readonly call: CallName; readonly effectId: EffectId } {
  return { call: name as CallName, effectId: `effect of ${name}` as EffectId };
}

function granted(name: string, attempt = 1): JobEvent {
  return {
    type: "tool.granted", ...call(name), tool: "pay", effect: "once", attempt, input: { order: name },
    inputDigest: "0".repeat(64) as Digest, timeoutMs: 1_000,
  };
}

function succeeded(name: string, problem?: string): JobEvent {
  return { type: "tool.succeeded", ...call(name), result: `r-${name}`, ...(problem !== undefined && { problem }) };
}

const found = (name: string): unknown => ({ ...call(name), tool: "pay", input: { order: name }, result: `r-${name}` });

describe("after a take-over", () => {
  test("what was done is to be looked at, whoever said that it was", () => {
    const by = { kind: "person", principal: "ann" } as const;
    const resolution = { kind: "done", result: "r-b" } as const;
    const log: JobEvent[] = [
      created, claimed, granted("a"), succeeded("a"), granted("b"),
      { type: "tool.resolved", ...call("b"), by, resolution },
    ];
    expect(doneBeforeTakeOver(log)).toEqual([found("a"), found("b")]);
  });

  test("what is stored apart from the log is marked", () => {
    const blob = { digest: "3".repeat(64) as Digest, bytes: 70_000 };
    const input = [created, claimed, { ...granted("a"), blob }, succeeded("a")] as const;
    const result = [created, claimed, granted("a"), { ...succeeded("a"), blob }] as const;
    for (const log of [input, result]) expect(doneBeforeTakeOver(log)).toMatchObject([{ ...call("a"), isApart: true }]);
  });

  test("what was not done, or not as its schema says, is not", () => {
    const error = { name: "E", message: "no" };
    const log: JobEvent[] = [
      created, claimed, granted("a"), { type: "tool.failed", ...call("a"), error }, granted("b"),
      succeeded("b", "too large"), granted("c"),
    ];
    expect(doneBeforeTakeOver(log)).toEqual([]);
  });

  test("what the owner before the last one has done is looked at again", () => {
    const log: JobEvent[] = [created, claimed, granted("a"), succeeded("a"), claimed, granted("b")];
    expect(doneBeforeTakeOver(log)).toEqual([found("a")]);
  });
});

test.each([
  ["waits", { type: "job.waiting", reason: "timer", on: [] }],
  ["is handed over", { type: "job.released" }],
] as const satisfies readonly (readonly [string, JobEvent])[])("nothing is looked at when a job %s", (_how, last) => {
  expect(doneBeforeTakeOver([created, claimed, granted("a"), succeeded("a"), last])).toEqual([]);
  expect(doneBeforeTakeOver([created, claimed, granted("a"), succeeded("a"), last, moved])).toEqual([]);
});

test("that a job was moved to another version since its owner was lost keeps nobody from looking", () => {
  expect(doneBeforeTakeOver([created, claimed, granted("a"), succeeded("a"), moved])).toEqual([found("a")]);
  expect(doneBeforeTakeOver([created, moved])).toEqual([]);
});

test("nothing is looked at where nothing was done", () => {
  expect(doneBeforeTakeOver([created, claimed])).toEqual([]);
  expect(doneBeforeTakeOver([])).toEqual([]);
});
