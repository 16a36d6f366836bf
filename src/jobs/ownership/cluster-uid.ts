// Owns: the cluster's uid: random bits that tell it from every other, drawn by whoever needs them first. A backup
// carries them, because effect ids are made of them.
import { present } from "../../base/assert.ts";
import type { CallOptions, Env } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { drawUid, parseUid, type ClusterUid } from "../core/ids.ts";

/** @throws AetherError of the store; asking again is safe */
export async function clusterUid(
  random: Env["random"],
  kv: Pick<Kv, "get" | "transact">,
  options: CallOptions = {},
): Promise<ClusterUid> {
  const key = formatKey({ kind: "cluster-uid" });
  const { entry: known } = await kv.get(key, { ...options, consistency: "local" });
  if (known !== undefined) return parseUid(known.value) as ClusterUid;
  const value = drawUid(random);
  const { results } = await kv.transact({
    compare: [unchanged(key, 0)],
    then: [{ kind: "put", key, value }, { kind: "get", key }],
    else: [{ kind: "get", key }],
  }, options);
  const read = results.at(-1);
  const entry = read?.kind === "get" ? read.entry : undefined;
  return parseUid(present(entry, "the cluster's uid is there once it was asked for").value) as ClusterUid;
}
