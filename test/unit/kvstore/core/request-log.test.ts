import { beforeEach, describe, expect, test } from "vitest";
import { encode } from "../../../../src/base/codec.ts";
import { encodeExpire, encodeGrant, encodeRevoke } from "../../../../src/kvstore/core/command.ts";
import { parseKeyText } from "../../../../src/kvstore/core/key.ts";
import { decodePage, encodePage, ONE_PUT, SESSION_WINDOW_MAX } from "../../../../src/kvstore/core/request-page.ts";
import type { Compare, Op } from "../../../../src/kvstore/core/schema.ts";
import type { CommandResult } from "../../../../src/kvstore/core/state-machine.ts";
import { toKvEntry } from "../../../../src/kvstore/core/stored-entry.ts";
import { MemoryMachine } from "../../../support/memory-machine.ts";

const a = parseKeyText("data/a");
const put = (value: unknown = 1): Op => ({ kind: "put", key: a, value });
const session = 1;

let state: MemoryMachine;

function send(id: number, then: readonly Op[] = [put(id)], compare: readonly Compare[] = []): CommandResult {
  return state.run(then, { compare, else: [{ kind: "get", key: a }], request: { session, id } });
}

beforeEach(() => {
  state = new MemoryMachine();
  state.apply(encodeGrant(10_000, true));
});

describe("a request that is repeated", () => {
  test("changes nothing and answers what it answered first", () => {
    const isNew: Compare = { key: a, target: "exists", op: "=", value: false };
    const remove: Op = { kind: "delete", key: a };
    const ops = [put("first"), remove, remove, put("again")];
    const first = send(1, ops, [isNew]);
    state.run([put("other")]);
    const { stateHash } = state.machine;
    expect(send(1, ops, [isNew])).toEqual({ ...first, changes: [] });
    expect(state.value(a)).toBe("other");
    expect(state.machine.stateHash).toBe(stateHash);
  });

  test("answers what it read then, when that was little", () => {
    state.run([put("small")]);
    const reads: readonly Op[] = [{ kind: "get", key: a }, { kind: "get", key: parseKeyText("data/none") }];
    send(1, reads);
    state.run([put("later")]);
    const again = send(1, reads);
    if (again.kind !== "done") expect.fail(again.kind);
    const [found, none] = again.results;
    expect(found?.kind === "get" && toKvEntry(a, found.entry!).value).toBe("small");
    expect(none).toEqual({ kind: "get", key: "data/none", entry: undefined });
  });

  test("says that it was applied, and at which revision, when it had read much", () => {
    state.run([put("x".repeat(2_000))]);
    const ops: readonly Op[] = [{ kind: "get", key: a }, { kind: "put", key: parseKeyText("data/b"), value: 1 }];
    send(1, ops);
    const refusal = { kind: "refused", code: "E_CONFLICT", outcome: "unknown", details: { revision: 2 } };
    expect(send(1, ops)).toMatchObject(refusal);
    expect(state.value(a)).not.toBe(1);
  });

  test("is tried again when it was refused", () => {
    const withLease: Op = { kind: "put", key: a, value: 1, lease: 2 };
    expect(send(1, [withLease])).toMatchObject({ kind: "refused", code: "E_NOT_FOUND" });
    state.apply(encodeGrant(10_000, false));
    expect(send(1, [withLease])).toMatchObject({ kind: "done", revision: 1 });
  });
});

describe("another write under a number that was used", () => {
  const b = parseKeyText("data/b");
  const isNew: Compare = { key: a, target: "exists", op: "=", value: false };
  const isFirst: Compare = { key: a, target: "value", op: "=", value: 1 };

  test.each<{ readonly what: string; readonly then: readonly Op[]; readonly compare?: readonly Compare[] }>([
    { what: "value", then: [put(2)] },
    { what: "key", then: [{ kind: "put", key: b, value: 1 }] },
    { what: "lease", then: [{ kind: "put", key: a, value: 1, lease: session }] },
    { what: "kind", then: [{ kind: "delete", key: a }] },
    { what: "number of operations", then: [put(1), put(1)] },
    { what: "compare", then: [put(1)], compare: [isNew] },
    { what: "compare of a value", then: [put(1)], compare: [isFirst] },
  ])("is refused, not applied, and changes nothing (another $what)", ({ then, compare }) => {
    send(1, [put(1)]);
    const { stateHash } = state.machine;
    const refusal = { kind: "refused", code: "E_CONFLICT", outcome: "not-applied", details: { id: 1, revision: 1 } };
    expect(send(1, then, compare)).toMatchObject(refusal);
    expect(state.machine.stateHash).toBe(stateHash);
    expect(send(1, [put(1)])).toMatchObject({ kind: "done", revision: 1 });
  });

  test("is told from a repetition by a page that was written and read again", () => {
    const place = { id: 1, succeeded: true, revision: 7, results: ONE_PUT, readBytes: 0, content: 4_294_967_295 };
    expect(decodePage(encodePage([place, undefined]))).toEqual([place, undefined]);
  });

  test("is taken for a repetition where an earlier build has kept no content", () => {
    const pages = encode([[1, 7], [2, 8, true], [3, 9, false, [1]], null]);
    expect(decodePage(pages).map((place) => place?.content)).toEqual([undefined, undefined, undefined, undefined]);
    expect(decodePage(pages)[0]).toMatchObject({ id: 1, succeeded: true, results: ONE_PUT });
  });
});

describe("the window", () => {
  test("takes requests in any order, each once", () => {
    for (const id of [3, 1, 1_024, 2, 1_024, 1]) send(id);
    expect(state.machine.revision).toBe(4);
  });

  test(`ends ${SESSION_WINDOW_MAX} requests back: an older one is refused, outcome unknown`, () => {
    for (let id = 1; id <= SESSION_WINDOW_MAX + 1; id++) send(id);
    const before = state.machine.stateHash;
    expect(send(1)).toMatchObject({
      kind: "refused", code: "E_CONFLICT", outcome: "unknown", details: { session, id: 1, latest: 1_025 },
    });
    expect(state.machine.stateHash).toBe(before);
    expect(send(2)).toMatchObject({ kind: "done", revision: 2, changes: [] });
  });

  test("of a session goes with it", () => {
    for (let id = 1; id <= 200; id++) send(id);
    expect(state.requestPages()).toBe(4);
    state.apply(encodeRevoke(session));
    expect(state.requestPages()).toBe(0);
    expect(send(201)).toMatchObject({ kind: "refused", code: "E_CONFLICT", outcome: "unknown" });
    expect(state.value(a)).toBe(200);
  });

  test("goes with it when the session expires, wherever its requests lie", () => {
    for (const id of [1_000, 5, 700]) send(id);
    state.apply(encodeExpire([{ lease: session, renewals: 0 }]));
    expect(state.requestPages()).toBe(0);
  });
});

test("of more sessions than are kept in memory each request is still known", () => {
  const sessions = Array.from({ length: 1_500 }, () => state.apply(encodeGrant(10_000, true)));
  const sendAll = (): CommandResult[] =>
    sessions.map((granted) => {
      if (granted.kind !== "granted") expect.fail(granted.kind);
      return state.run([put()], { request: { session: granted.lease, id: 1 } });
    });
  const first = sendAll();
  const { revision, stateHash } = state.machine;
  expect(sendAll()).toEqual(first.map((result) => ({ ...result, changes: [] })));
  expect(state.machine).toMatchObject({ revision, stateHash });
});

test("a lease without requests is no session", () => {
  state.apply(encodeGrant(10_000, false));
  expect(state.run([put()], { request: { session: 2, id: 1 } })).toMatchObject({
    kind: "refused", code: "E_INVALID", outcome: "not-applied",
  });
});

test("a request may attach keys to its own session", () => {
  send(1, [{ kind: "put", key: a, value: 1, lease: session }]);
  expect(state.machine.lease(session)).toMatchObject({ keys: 1, reach: 64 });
  state.apply(encodeRevoke(session));
  expect(state.value(a)).toBeUndefined();
});
