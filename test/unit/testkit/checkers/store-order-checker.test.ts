import { describe, expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { formatKey, type KeyText } from "../../../../src/kvstore/core/key.ts";
import type { KvChange, KvChangeSet, KvEntry, OpResult, Txn } from "../../../../src/kvstore/core/schema.ts";
import type { Action, Answer, Ending, Operation } from "../../../sim/checkers/history.ts";
import { checkStoreOrder } from "../../../sim/checkers/store-order-checker.ts";
import { Violations } from "../../../sim/checkers/violations.ts";

const NODE = parseNodeId("n1");
const X = formatKey({ kind: "data", path: "x" });
const Y = formatKey({ kind: "data", path: "y" });

let nextId = 0;
function ok(called: number, returned: number, action: Action, answer: Answer): Operation {
  nextId += 1;
  return { kind: "ok", id: nextId, node: NODE, called, returned, action, answer };
}
function unknown(called: number, action: Action): Operation {
  nextId += 1;
  return { kind: "unknown", id: nextId, node: NODE, called, action };
}
function txn(parts: Partial<Txn>): Action {
  return { kind: "txn", txn: { compare: [], then: [], else: [], ...parts } };
}
function answer(revision: number, results: readonly OpResult[] = [{ kind: "put" }], succeeded = true): Answer {
  return { kind: "txn", result: { succeeded, revision, results } };
}
const put = (key: KeyText, value: string): Action => txn({ then: [{ kind: "put", key, value }] });
const read = (key: KeyText): Action => ({ kind: "read", key });
const saw = (revision: number, found?: KvEntry): Answer => ({ kind: "read", entry: found, revision });
const revoked = (revision: number): Answer => ({ kind: "revoked", revision });
function entry(key: KeyText, value: string, modRevision: number, createRevision = modRevision): KvEntry {
  return { key, value, modRevision, createRevision, version: modRevision - createRevision + 1 };
}
function log(...revisions: (readonly KvChange[])[]): KvChangeSet[] {
  return revisions.map((changes, index) => ({ revision: index + 1, changes }));
}
const wrote = (written: KvEntry): KvChange => ({ kind: "put", entry: written });

const XA = entry(X, "a", 1);
const XB = entry(X, "b", 2, 1);
const LOG = log([wrote(XA)], [wrote(XB)]);
const both = txn({ then: [{ kind: "put", key: X, value: "t" }, { kind: "put", key: Y, value: "t" }] });

const attach = txn({ then: [{ kind: "put", key: X, value: "a", lease: 7 }] });
const XA7: KvEntry = { ...XA, lease: 7 };
const GONE: KvChange = { kind: "delete", key: X, modRevision: 2 };
const revoke: Action = { kind: "revoke", lease: 7 };

interface Case {
  readonly history: readonly Operation[];
  readonly log: readonly KvChangeSet[];
  readonly endings?: readonly Ending[];
}

const afterX = (modRevision: number): Action => txn({
  compare: [{ key: X, target: "modRevision", op: "=", value: modRevision }],
  then: [{ kind: "put", key: X, value: "b" }],
});

const GOOD: Record<string, Case> = {
  "of equal writes of unknown outcome the one whose comparison held took effect": {
    history: [unknown(1, afterX(7)), ok(2, 3, put(X, "a"), answer(1)), unknown(4, afterX(1))],
    log: LOG,
  },
  "writes and reads follow each other": {
    history: [ok(1, 2, put(X, "a"), answer(1)), ok(3, 4, read(X), saw(1, XA)), ok(5, 6, put(X, "b"), answer(2))],
    log: LOG,
  },
  "overlapping operations take any order": {
    history: [ok(1, 8, put(X, "b"), answer(2)), ok(2, 7, put(X, "a"), answer(1)), ok(3, 6, read(X), saw(0))],
    log: LOG,
  },
  "a write of unknown outcome took effect": {
    history: [unknown(1, put(X, "a")), ok(3, 4, put(X, "b"), answer(2))],
    log: LOG,
  },
  "a write of unknown outcome left no trace": {
    history: [ok(1, 2, put(X, "a"), answer(1)), unknown(3, put(X, "never"))],
    log: LOG.slice(0, 1),
  },
  "a transaction over two keys has one revision": {
    history: [ok(1, 2, both, answer(1, [{ kind: "put" }, { kind: "put" }]))],
    log: log([wrote(entry(X, "t", 1)), wrote(entry(Y, "t", 1))]),
  },
};

Object.assign(GOOD, {
  "a lease ended with its key": {
    history: [ok(1, 2, attach, answer(1)), ok(3, 4, read(X), saw(2))],
    log: log([wrote(XA7)], [GONE]),
    endings: [{ leases: [7], revision: 2, hasKeys: true }],
  },
  "a lease ended whose key had left it": {
    history: [ok(1, 2, attach, answer(1)), ok(3, 4, put(X, "b"), answer(2)), ok(5, 6, revoke, revoked(2))],
    log: log([wrote(XA7)], [wrote(XB)]),
    endings: [{ leases: [7], revision: 2, hasKeys: false }],
  },
} satisfies Record<string, Case>);

const BAD: Record<string, Case> = {
  "a lease ended without its key": {
    history: [ok(1, 2, attach, answer(1))],
    log: log([wrote(XA7)]),
    endings: [{ leases: [7], revision: 1, hasKeys: false }],
  },
  "the end of a lease took another key along": {
    history: [ok(1, 2, put(X, "a"), answer(1))],
    log: log([wrote(XA)], [GONE]),
    endings: [{ leases: [7], revision: 2, hasKeys: true }],
  },
  "a key was attached to a lease that had ended": {
    history: [ok(1, 2, attach, answer(1))],
    log: log([wrote(XA7)]),
    endings: [{ leases: [7], revision: 0, hasKeys: false }],
  },
  "a lease is told to be gone and is not": {
    history: [ok(1, 2, attach, answer(1)), ok(3, 4, revoke, revoked(1))],
    log: log([wrote(XA7)]),
  },

  "an acknowledged write is not in the log": { history: [ok(1, 2, put(X, "a"), answer(1))], log: [] },
  "a read is stale": {
    history: [ok(1, 2, put(X, "a"), answer(1)), ok(3, 4, put(X, "b"), answer(2)), ok(5, 6, read(X), saw(1, XA))],
    log: LOG,
  },
  "a read sees another value than its revision has": {
    history: [ok(1, 2, put(X, "a"), answer(1)), ok(3, 4, put(X, "b"), answer(2)), ok(5, 6, read(X), saw(2, XA))],
    log: LOG,
  },
  "a later write gets an earlier revision": {
    history: [ok(1, 2, put(X, "b"), answer(2)), ok(3, 4, put(X, "a"), answer(1))],
    log: LOG,
  },
  "two writes get the same revision": {
    history: [ok(1, 9, put(X, "a"), answer(1)), ok(2, 8, put(X, "b"), answer(1))],
    log: LOG.slice(0, 1),
  },
  "a write took effect twice": {
    history: [ok(1, 2, put(X, "a"), answer(1))],
    log: log([wrote(XA)], [wrote(entry(X, "a", 2, 1))]),
  },
  "an operation of unknown outcome took effect twice": {
    history: [unknown(1, put(X, "a"))],
    log: log([wrote(XA)], [wrote(entry(X, "a", 2, 1))]),
  },
  "nobody can have written what is in the log": { history: [], log: LOG.slice(0, 1) },
  "a write of unknown outcome took effect before its call": {
    history: [ok(1, 2, put(X, "b"), answer(2)), unknown(3, put(X, "a"))],
    log: LOG,
  },
  "a transaction is torn": {
    history: [ok(1, 2, both, answer(1, [{ kind: "put" }, { kind: "put" }]))],
    log: log([wrote(entry(X, "t", 1))]),
  },
  "a guard held that did not": {
    history: [
      ok(
        1,
        2,
        txn({
          compare: [{ key: X, target: "exists", op: "=", value: true }],
          then: [{ kind: "put", key: X, value: "a" }],
        }),
        answer(1),
      ),
    ],
    log: LOG.slice(0, 1),
  },
};

function judge({ history, log: changes, endings = [] }: Case): string | undefined {
  const violations = new Violations();
  checkStoreOrder({ operations: history, log: changes, endings }, violations);
  return violations.first?.check;
}

describe("the store order checker accepts a history in which", () => {
  test.each(Object.entries(GOOD))("%s", (_name, example) => {
    expect(judge(example)).toBeUndefined();
  });
});

describe("the store order checker refuses a history in which (C11)", () => {
  test.each(Object.entries(BAD))("%s", (_name, example) => {
    expect(judge(example)).toBe("C11");
  });
});
