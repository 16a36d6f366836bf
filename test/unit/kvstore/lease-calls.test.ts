import { afterEach, beforeEach, expect, test } from "vitest";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

let clock: ManualClock;
let local: LocalKv;

beforeEach(async () => {
  clock = new ManualClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  local = await opening;
});

afterEach(async () => {
  const closed = local.close();
  await clock.settle();
  await closed;
});

async function settled<T>(promises: readonly Promise<T>[]): Promise<readonly PromiseSettledResult<T>[]> {
  const all = Promise.allSettled(promises);
  await clock.settle();
  return all;
}

async function grant(): Promise<number> {
  const [granted] = await settled([local.kv.grantLease({ ttlMs: 1_000 })]);
  if (granted?.status !== "fulfilled") expect.fail("no lease");
  return granted.value.lease;
}

test("renewals of one turn are one command; each caller hears of its own lease", async () => {
  const leases = [await grant(), await grant()];
  const commands: Uint8Array[] = [];
  const propose = local.group.propose.bind(local.group);
  local.group.propose = (command, done) => {
    commands.push(command);
    propose(command, done);
  };
  const ended = await settled([...leases, 77, leases[0] ?? 0].map((lease) => local.kv.renewLease(lease)));
  expect(ended.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
  expect(ended[2]).toMatchObject({ reason: { code: "E_NOT_FOUND", outcome: "not-applied" } });
  expect(commands).toHaveLength(1);
  expect(leases.map((lease) => local.kv.lease(lease)?.renewals)).toEqual([1, 1]);
});

test("every renewal is told when the command fails, and its own deadline holds", async () => {
  const lease = await grant();
  local.group.setMode("no-quorum");
  const [refused] = await settled([local.kv.renewLease(lease)]);
  expect(refused).toMatchObject({ status: "rejected", reason: { code: "E_NO_QUORUM" } });
  local.group.setMode("silent");
  const late = settled([local.kv.renewLease(lease, { timeoutMs: 100 })]);
  await clock.advance(101);
  expect(await late).toMatchObject([{ status: "rejected", reason: { code: "E_TIMEOUT", outcome: "unknown" } }]);
});

test("whoever gives up by a signal hears that the outcome is unknown", async () => {
  const lease = await grant();
  local.group.setMode("silent");
  const gone = new AbortController();
  const renewing = settled([local.kv.renewLease(lease, { signal: gone.signal })]);
  gone.abort();
  expect(await renewing).toMatchObject([{ status: "rejected", reason: { code: "E_TIMEOUT", outcome: "unknown" } }]);
});

test("a lease that is revoked twice is not found the second time", async () => {
  const lease = await grant();
  const [first] = await settled([local.kv.revokeLease(lease)]);
  expect(first?.status).toBe("fulfilled");
  const [second] = await settled([local.kv.revokeLease(lease)]);
  expect(second).toMatchObject({ reason: { code: "E_NOT_FOUND" } });
});

test("a request that two nodes were asked for is applied once, and both hear the same", async () => {
  const [session] = await settled([local.kv.grantLease({ ttlMs: 1_000, requests: true })]);
  if (session?.status !== "fulfilled") expect.fail("no session");
  const request = { session: session.value.lease, id: 1 };
  const txn = { compare: [], then: [{ kind: "put", key: "data/n" as never, value: 1 }], else: [] } as const;
  const answers = await settled([local.kv.transact(txn, { request }), local.kv.transact(txn, { request })]);
  expect(answers).toMatchObject([{ value: { revision: 1 } }, { value: { revision: 1 } }]);
  expect(local.kv.revision).toBe(1);
});
