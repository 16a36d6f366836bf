// What is beside the jobs of a cluster in which some nodes have a later build.
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseArtifactId, parseDigest, parseJobId } from "../../../src/base/ids.ts";
import { PinNeeds } from "../../../src/jobs/running/pin-needs.ts";
import { refOf } from "../../../src/jobs/core/ids.ts";
import { formatKey } from "../../../src/kvstore/core/key.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { writeLaterKey } from "../../support/later-key.ts";

const pin = { kind: "job-pin", digest: parseDigest("a".repeat(64)) } as const;
const row = {
  artifact: parseArtifactId("demo:claims:1.0.0"), archive: pin.digest, slice: "claims", config: null, uses: {},
  heapBytesMax: 1, variables: {},
  renewedMs: 0,
};

let local: LocalKv;

beforeEach(async () => {
  local = await createLocalKv();
});

afterEach(() => local.close());

test.each([
  ["pin", pin], ["job", { kind: "job", ...refOf(parseJobId("claim-1")) }],
] as const)("what a %s of a later build needs is not known, which is said", async (_what, like) => {
  await local.kv.transact({ compare: [], then: [{ kind: "put", key: formatKey(pin), value: row }], else: [] });
  writeLaterKey(local, like);
  await expect(new PinNeeds({ clock: { wallMs: () => 0 } }, local.kv).survey({})).rejects.toMatchObject({
    code: "E_UNAVAILABLE", message: expect.stringContaining("was written by a later build"),
  });
});
