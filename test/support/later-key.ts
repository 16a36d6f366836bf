// Owns: writing a key of a kind that only a later build knows, as a node of that build would.
import { encodeTxn } from "../../src/kvstore/core/txn.ts";
import { formatKey, type AetherKey } from "../../src/kvstore/core/key.ts";
import type { LocalKv } from "./local-kv.ts";

/** The key is that of `like`, with something else in its last segment, or in `segment`. */
export function writeLaterKey({ group }: LocalKv, like: AetherKey, segment = -1): void {
  const key = formatKey(like);
  const segments = key.split("/");
  const at = segment < 0 ? segments.length + segment : segment;
  const later = segments.map((one, index) => (index === at ? "~".repeat(one.length) : one)).join("/");
  const command = Buffer.from(encodeTxn({ compare: [], then: [{ kind: "put", key, value: 1 }], else: [] }));
  command.write(later, command.indexOf(key));
  group.propose(command, () => undefined);
}
