// Owns: the promise that every key has exactly one text, for every kind and any name.
import fc from "fast-check";
import { expect, test } from "vitest";
import { parsePrefix } from "../../src/api/core/kv-keys.ts";
import { parseArtifactId, parseDigest, parseJobId, parseNodeId } from "../../src/base/ids.ts";
import {
  compareKeyText,
  formatKey,
  parseKey,
  parseKeyText,
  utf8Bytes,
  type AetherKey,
} from "../../src/kvstore/core/key.ts";

const isClean = (text: string): boolean => !/\p{Control}|\p{Surrogate}/u.test(text);
const name = fc.string({ unit: "binary", minLength: 1, maxLength: 8 }).filter(isClean);
const node = fc.stringMatching(/^[a-z0-9-]{1,32}$/).map(parseNodeId);
const digest = fc.stringMatching(/^[0-9a-f]{64}$/).map(parseDigest);
const artifact = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}:[a-z][a-z0-9-]{0,8}:\d{1,3}\.\d\.\d$/).map(parseArtifactId);
const segment = name.filter((text) => !text.includes("/") && text !== "." && text !== "..");
const path = fc.array(segment, { minLength: 1, maxLength: 6 }).map((segments) => segments.join("/"));
const instance = fc.nat(99_999);
const job = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,20}$/).map(parseJobId);
const partition = fc.nat(999);
const ms = fc.nat(2_000_000_000_000);

const kinds: { readonly [K in AetherKey["kind"]]: fc.Arbitrary<Extract<AetherKey, { kind: K }>> } = {
  config: fc.constant({ kind: "config" }),
  "cluster-uid": fc.constant({ kind: "cluster-uid" }),
  "node-intent": fc.record({ kind: fc.constant("node-intent"), node }),
  "node-state": fc.record({ kind: fc.constant("node-state"), node }),
  leader: fc.constant({ kind: "leader" }),
  "leader-beat": fc.constant({ kind: "leader-beat" }),
  artifact: fc.record({ kind: fc.constant("artifact"), artifact }),
  blob: fc.record({ kind: fc.constant("blob"), digest, chunk: fc.nat(999_999) }),
  blueprint: fc.record({ kind: fc.constant("blueprint"), name, revision: fc.nat(2_000_000_000) }),
  "blueprint-current": fc.record({ kind: fc.constant("blueprint-current"), name }),
  rollout: fc.record({ kind: fc.constant("rollout"), blueprint: name, slice: name }),
  "slice-owner": fc.record({ kind: fc.constant("slice-owner"), slice: name }),
  scale: fc.record({ kind: fc.constant("scale"), slice: name }),
  "control-rules": fc.constant({ kind: "control-rules" }),
  "control-pause": fc.constant({ kind: "control-pause" }),
  "control-pin": fc.record({ kind: fc.constant("control-pin"), slice: name }),
  route: fc.record({ kind: fc.constant("route"), route: name }),
  schedule: fc.record({ kind: fc.constant("schedule"), slice: name, name }),
  "agent-schedule": fc.record({ kind: fc.constant("agent-schedule"), slice: name, agent: name, name }),
  call: fc.record({ kind: fc.constant("call"), slice: name, method: name, key: name }),
  "slice-lease": fc.record({ kind: fc.constant("slice-lease"), slice: name, name }),
  topic: fc.record({ kind: fc.constant("topic"), topic: name }),
  "topic-group": fc.record({ kind: fc.constant("topic-group"), topic: name, group: name }),
  "topic-message": fc.record({
    kind: fc.constant("topic-message"), topic: name, group: name, partition: fc.nat(99), id: name,
  }),
  "topic-dead": fc.record({ kind: fc.constant("topic-dead"), topic: name, group: name, id: name }),
  slice: fc.record({ kind: fc.constant("slice"), node, artifact, instance }),
  endpoint: fc.record({ kind: fc.constant("endpoint"), slice: name, method: name, node, artifact, instance }),
  "job": fc.record({ kind: fc.constant("job"), partition, job }),
  "job-head": fc.record({ kind: fc.constant("job-head"), partition, job }),
  "job-spec": fc.record({ kind: fc.constant("job-spec"), partition, job }),
  "job-page": fc.record({ kind: fc.constant("job-page"), partition, job, run: fc.nat(9_999), seq: fc.nat(999_999) }),
  "job-chunk": fc.record({ kind: fc.constant("job-chunk"), partition, job, run: fc.nat(9_999), seq: fc.nat(999_999) }),
  "job-tool": fc.record({ kind: fc.constant("job-tool"), partition, job, run: fc.nat(9_999), effect: digest }),
  "job-run": fc.record({ kind: fc.constant("job-run"), partition, job, run: fc.nat(9_999) }),
  "job-result": fc.record({ kind: fc.constant("job-result"), partition, job }),
  "job-repeat": fc.record({ kind: fc.constant("job-repeat"), partition, job }),
  "job-inbox-count": fc.record({ kind: fc.constant("job-inbox-count"), partition, job }),
  "job-seen": fc.record({ kind: fc.constant("job-seen"), partition, job, digest }),
  "job-inbox": fc.record({ kind: fc.constant("job-inbox"), partition, job, n: fc.nat(999_999) }),
  "job-queue": fc.record({ kind: fc.constant("job-queue"), partition, job }),
  "job-timer": fc.record({ kind: fc.constant("job-timer"), partition, job, dueMs: ms, name }),
  "job-owned": fc.record({ kind: fc.constant("job-owned"), node, partition, job }),
  "job-agent": fc.record({ kind: fc.constant("job-agent"), agent: name, partition, job }),
  "job-end": fc.record({ kind: fc.constant("job-end"), partition, job, endedMs: ms }),
  "job-collected": fc.record({ kind: fc.constant("job-collected"), partition, job, endedMs: ms }),
  "job-approval": fc.record({ kind: fc.constant("job-approval"), partition, job, name }),
  "job-beat": fc.record({ kind: fc.constant("job-beat"), node }),
  "job-start": fc.record({ kind: fc.constant("job-start"), tenant: name, agent: name, digest }),
  "job-pin": fc.record({ kind: fc.constant("job-pin"), digest }),
  "job-child": fc.record({ kind: fc.constant("job-child"), partition, job, child: job }),
  "job-untold": fc.record({ kind: fc.constant("job-untold"), partition, job }),
  "job-notice": fc.record({
    kind: fc.constant("job-notice"), partition, job, run: fc.nat(999_999), seq: fc.nat(999_999), hook: name,
  }),
  "job-outbox": fc.record({ kind: fc.constant("job-outbox"), partition, job, n: fc.nat(999_999) }),
  "job-rate": fc.record({ kind: fc.constant("job-rate"), name }),
  "job-payload": fc.record({ kind: fc.constant("job-payload"), partition, job, digest }),
  "job-blob-ref": fc.record({ kind: fc.constant("job-blob-ref"), partition, job, digest }),
  "job-blob": fc.record({ kind: fc.constant("job-blob"), digest }),
  "job-blob-write": fc.record({ kind: fc.constant("job-blob-write"), digest }),
  "job-blob-chunk": fc.record({ kind: fc.constant("job-blob-chunk"), digest, chunk: fc.nat(9_999) }),
  "job-permit": fc.record({
    kind: fc.constant("job-permit"), scope: fc.constantFrom("agent", "tenant", "cluster", "call"), name,
    slot: fc.nat(999_999),
  }),
  data: fc.record({ kind: fc.constant("data"), path }),
};

test.each(Object.entries(kinds))("a %s key survives format and parse", (_kind, arbitrary) => {
  fc.assert(
    fc.property(arbitrary as fc.Arbitrary<AetherKey>, (key) => {
      const text = formatKey(key);
      expect(parseKey(text)).toEqual(key);
      expect(parseKeyText(text)).toBe(text);
      expect(utf8Bytes(text)).toBe(Buffer.byteLength(text));
    }),
  );
});

test.each(Object.entries(kinds))("a %s key can be listed with its like", (_kind, arbitrary) => {
  const [key] = fc.sample<AetherKey>(arbitrary, 1);
  const [prefix = ""] = /^[^/]+\/?/.exec(key === undefined ? "" : formatKey(key)) ?? [];
  expect(parsePrefix(prefix)).toBe(prefix);
});

test("any text is refused or is the one text of its key", () => {
  const roots = fc.constantFrom(
    "data/", "nodes/", "blueprints/", "slices/n1/", "endpoints/", "leader", "topics/", "leases/", "job-data/000/j/", "",
  );
  fc.assert(
    fc.property(roots, fc.string({ unit: "binary", maxLength: 40 }), (root, rest) => {
      let key: AetherKey;
      try {
        key = parseKey(root + rest);
      } catch (error) {
        expect(error).toMatchObject({ code: "E_INVALID" });
        return;
      }
      expect(formatKey(key)).toBe(root + rest);
    }),
  );
});

test("keys order like their bytes", () => {
  const text = path.map((value) => formatKey({ kind: "data", path: value }));
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(Math.sign(compareKeyText(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
  );
});
