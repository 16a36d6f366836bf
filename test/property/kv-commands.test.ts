// Owns: leases, requests and the quota against a plain model: whatever the order of commands, each is applied as if
// one wrote it down by hand, and the weight and the rolling hash follow.
import fc from "fast-check";
import { expect, test } from "vitest";
import { encode } from "../../src/base/codec.ts";
import {
  encodeExpire,
  encodeGrant,
  encodeQuota,
  encodeRenew,
  encodeRevoke,
  QUOTA_BYTES_MIN,
} from "../../src/kvstore/core/command.ts";
import { parseKeyText, type KeyText } from "../../src/kvstore/core/key.ts";
import type { Op, RequestRef } from "../../src/kvstore/core/schema.ts";
import type { CommandResult } from "../../src/kvstore/core/state-machine.ts";
import { encodeTxn } from "../../src/kvstore/core/txn.ts";
import { KvGenerations } from "../../src/kvstore/kv-generations.ts";
import { KvState } from "../../src/kvstore/kv-state.ts";
import { createMemoryStorePort } from "../../src/storage/memory-store.ts";
import { joinCommands, SILENT_LOG } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { MemoryMachine } from "../support/memory-machine.ts";

type Command =
  | { readonly kind: "txn"; readonly ops: readonly Op[]; readonly request?: RequestRef }
  | { readonly kind: "grant"; readonly requests: boolean }
  | { readonly kind: "renew" | "revoke"; readonly lease: number }
  | { readonly kind: "expire"; readonly lease: number; readonly renewals: number }
  | { readonly kind: "quota"; readonly bytes: number };

const KEYS = ["data/a", "data/b", "data/c", "nodes/n1/state"].map(parseKeyText);
const key = fc.constantFrom(...KEYS);
const lease = fc.integer({ min: 1, max: 4 });
// Small ones that move keys about, and some that fill a store of 1 MiB.
const smallValue = fc.integer({ min: 0, max: 9 });
const anyValue = fc.oneof(smallValue, fc.constantFrom("x".repeat(300_000), "y".repeat(150_000)));
// Numbers that share a place of the window.
const id = fc.constantFrom(1, 2, 3, 1_025, 1_026, 2_049);
// Mostly of sessions that there are, so that one number is used again.
const session = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(1, 2) }, { weight: 1, arbitrary: lease });
const request = fc.record({ session, id });
const command = commandOf(smallValue);

function commandOf(value: fc.Arbitrary<unknown>): fc.Arbitrary<Command> {
  const op: fc.Arbitrary<Op> = fc.oneof(
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("put" as const), key, value }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("put" as const), key, value, lease }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete" as const), key }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("get" as const), key }) },
  );
  const ops = fc.array(op, { maxLength: 3 });
  return fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("txn" as const), ops }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("txn" as const), ops, request }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("grant" as const), requests: fc.boolean() }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("renew" as const, "revoke" as const), lease }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("expire" as const), lease, renewals: fc.nat(2) }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("quota" as const), bytes: fc.constantFrom(QUOTA_BYTES_MIN, 1e9) }),
    },
  );
}

function encoded(given: Command): Uint8Array {
  switch (given.kind) {
    case "txn":
      return encodeTxn({ compare: [], then: given.ops, else: [] }, given.request);
    case "grant":
      return encodeGrant(5_000, given.requests);
    case "renew":
      return encodeRenew([given.lease]);
    case "revoke":
      return encodeRevoke(given.lease);
    case "expire":
      return encodeExpire([{ lease: given.lease, renewals: given.renewals }]);
    case "quota":
      return encodeQuota(given.bytes);
  }
}

interface ModelLease {
  renewals: number;
  readonly requests: boolean;
  /** By place, what was asked for there last and what it was answered. */
  readonly answers: Map<number, { readonly id: number; readonly asked: string; readonly answer: string }>;
}

/** Leases and requests as one would write them without a care. It is told what the quota refused. */
class Model {
  readonly entries = new Map<KeyText, { value: unknown; lease: number | undefined }>();
  readonly leases = new Map<number, ModelLease>();
  private last = 0;
  private revision = 0;

  apply(given: Command, isOverQuota: boolean): string {
    switch (given.kind) {
      case "txn":
        return this.applyTxn(given, isOverQuota);
      case "grant":
        this.leases.set(++this.last, { renewals: 0, requests: given.requests, answers: new Map() });
        return `granted ${this.last}`;
      case "renew": {
        const found = this.leases.get(given.lease);
        if (found !== undefined) found.renewals += 1;
        return `renewed ${found?.renewals ?? "none"}`;
      }
      case "revoke":
        return this.leases.has(given.lease) ? `ended ${this.end(given.lease)}` : "refused E_NOT_FOUND";
      case "expire": {
        const isSame = this.leases.get(given.lease)?.renewals === given.renewals;
        return `ended ${isSame ? this.end(given.lease) : this.revision}`;
      }
      case "quota":
        return "configured";
    }
  }

  private applyTxn(given: Extract<Command, { kind: "txn" }>, isOverQuota: boolean): string {
    const named = given.request;
    if (named === undefined) return this.applyOps(given.ops, isOverQuota);
    const session = this.leases.get(named.session);
    if (session === undefined) return "refused E_CONFLICT";
    if (!session.requests) return "refused E_INVALID";
    const known = session.answers.get(named.id % 1_024);
    if (known !== undefined && known.id > named.id) return "refused E_CONFLICT";
    const asked = JSON.stringify(given.ops);
    if (known?.id === named.id) return known.asked === asked ? known.answer : "refused E_CONFLICT";
    const answer = this.applyOps(given.ops, isOverQuota);
    if (answer.startsWith("refused")) return answer;
    const isLarge = given.ops.some((each) => each.kind === "get") && answer.length > 1_000;
    session.answers.set(named.id % 1_024, { id: named.id, asked, answer: isLarge ? "refused E_CONFLICT" : answer });
    return answer;
  }

  private applyOps(given: readonly Op[], isOverQuota: boolean): string {
    const isAttachable = given.every(
      (each) => each.kind !== "put" || each.lease === undefined || this.leases.has(each.lease),
    );
    if (!isAttachable) return "refused E_NOT_FOUND";
    if (isOverQuota) return "refused E_QUOTA";
    let hasChanged = false;
    const answers = given.map((each) => {
      const before = this.entries.get(each.key);
      if (each.kind === "get") return `${JSON.stringify(before?.value)} of ${before?.lease ?? "none"}`;
      if (each.kind === "put") this.entries.set(each.key, { value: each.value, lease: each.lease });
      else this.entries.delete(each.key);
      hasChanged ||= each.kind === "put" || before !== undefined;
      return each.kind === "put" ? "put" : before !== undefined;
    });
    if (hasChanged) this.revision += 1;
    return `${answers.join()} at ${this.revision}`;
  }

  private end(ending: number): number {
    this.leases.delete(ending);
    const keys = [...this.entries].filter(([, entry]) => entry.lease === ending);
    for (const [attached] of keys) this.entries.delete(attached);
    if (keys.length > 0) this.revision += 1;
    return this.revision;
  }
}

function told(result: CommandResult, state: MemoryMachine): string {
  switch (result.kind) {
    case "done": {
      const answers = result.results.map((each) => {
        if (each.kind === "get") {
          const { entry } = each;
          const shown = entry === undefined ? undefined : state.show(each.key, entry);
          return `${JSON.stringify(shown?.value)} of ${shown?.lease ?? "none"}`;
        }
        return each.kind === "put" ? "put" : each.deleted;
      });
      return `${answers.join()} at ${result.revision}`;
    }
    case "granted":
      return `granted ${result.lease}`;
    case "renewed":
      return `renewed ${result.leases[0]?.renewals ?? "none"}`;
    case "ended":
      return `ended ${result.revision}`;
    case "configured":
      return "configured";
    case "refused":
      return `refused ${result.code}`;
  }
}

test("leases and requests do what a plain model does, and the weight is that of the rows", () => {
  fc.assert(
    fc.property(fc.array(commandOf(anyValue), { maxLength: 40 }), (commands) => {
      const state = new MemoryMachine();
      const model = new Model();
      for (const given of commands) {
        const before = { ...state.totals() };
        const result = state.apply(encoded(given));
        const isOverQuota = result.kind === "refused" && result.code === "E_QUOTA";
        expect(told(result, state)).toBe(model.apply(given, isOverQuota));
        if (result.kind === "refused") expect(state.totals()).toEqual(before);
        if (isOverQuota) expect(state.machine.liveBytes + 1_300_000).toBeGreaterThan(state.machine.quotaBytes);
        expect(state.machine.liveBytes).toBe(state.weigh());
      }
      for (const text of KEYS) expect(state.value(text)).toEqual(model.entries.get(text)?.value);
      for (const number of [1, 2, 3, 4]) {
        const attached = [...model.entries.values()].filter((entry) => entry.lease === number).length;
        expect(state.machine.lease(number)?.keys).toBe(model.leases.has(number) ? attached : undefined);
      }
      for (const number of model.leases.keys()) state.apply(encodeRevoke(number));
      expect(state.ownRows("lease/") + state.ownRows("lease-key/") + state.requestPages()).toBe(0);
    }),
    { numRuns: 100 },
  );
});

test("a state that is closed and opened in between is equal: leases, requests, quota, weight and hash", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(command, { maxLength: 6 }), { maxLength: 8 }), async (slots) => {
      const clock = new ManualClock();
      const stores = createMemoryStorePort(clock);
      const open = async (): Promise<{ readonly state: KvState; close(): Promise<void> }> => {
        const generations = await KvGenerations.open(stores);
        const onFatal = (error: Error): void => expect.fail(error.message);
        const state = KvState.open({ generations, clock, log: SILENT_LOG, cluster: "c", onFatal });
        const close = async (): Promise<void> => {
          const closed = state.close();
          await clock.settle();
          await closed;
          await generations.close();
        };
        return { state, close };
      };
      const steady = new MemoryMachine();
      for (const [slot, commands] of slots.entries()) {
        const { state, close } = await open();
        const bytes = commands.map(encoded);
        const results = state.applyBatch(joinCommands(bytes));
        state.endSlot(slot, () => Uint8Array.from([slot]));
        expect(results).toEqual(bytes.map((each) => steady.apply(each)));
        const { revision, stateHash, liveBytes, quotaBytes } = steady.machine;
        expect([state.revision, state.stateHash]).toEqual([revision, stateHash]);
        expect(state.usage).toEqual({ liveBytes, quotaBytes });
        expect((await state.leases()).length).toBe(steady.ownRows("lease/"));
        const listed = (await state.listLocal({ prefix: "" })).entries;
        expect(listed.length).toBe([...steady.rows.keys()].filter((text) => text >= " ").length);
        await close();
      }
    }),
    { numRuns: 40 },
  );
});

test("no command, whatever its fields, stops the state or makes two replicas differ", () => {
  const field: fc.Arbitrary<unknown> = fc.oneof(
    fc.constantFrom(0, 1, 2, 3, 4, 5, 6, -1, 1.5, 2 ** 53, "data/a", "", null, true),
    fc.uint8Array({ maxLength: 3 }),
    fc.array(fc.oneof(fc.integer(), fc.array(fc.constantFrom(0, 1, "data/a", new Uint8Array(1)))), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom("toString", "valueOf", "length", "__proto__"), fc.integer()),
  );
  const garbage = fc.array(field, { maxLength: 7 }).map((fields) => encode([2, ...fields]));
  fc.assert(
    fc.property(fc.array(fc.oneof(garbage, command.map(encoded)), { maxLength: 12 }), (commands) => {
      const [first, second] = [new MemoryMachine(), new MemoryMachine()];
      for (const bytes of commands) expect(first.apply(bytes)).toEqual(second.apply(bytes));
      expect(first.totals()).toEqual(second.totals());
      expect(first.run([{ kind: "get", key: parseKeyText("data/a") }])).toMatchObject({ kind: "done" });
    }),
  );
});
