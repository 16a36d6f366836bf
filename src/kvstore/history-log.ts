// Owns: opening the log that the past of the store is kept in. Does not own: what is in it (kv-history.ts).
import { toAetherError } from "../base/errors.ts";
import type { AppendLog } from "../env/append-log.ts";
import type { Env } from "../env/env.ts";
import type { Log } from "../env/telemetry.ts";

const NAME = "past";
/** The store that earlier versions had it in. */
const EARLIER_STORE = "history";

/**
 * Opens it; when it is damaged, a new one: the past is only for readers, and the node serves without it.
 * @throws AetherError E_DATA_LOCKED, E_VERSION, E_DISK
 */
export async function openHistoryLog({ store, logs }: Pick<Env, "store" | "logs">, log: Log): Promise<AppendLog> {
  if ((await store.list()).includes(EARLIER_STORE)) await store.destroy(EARLIER_STORE);
  try {
    return await logs.open(NAME);
  } catch (thrown) {
    const { code, message } = toAetherError(thrown);
    if (code !== "E_DATA_CORRUPT") throw thrown;
    log.error({ event: "kv.history-unreadable", code, reason: message });
    await logs.destroy(NAME);
    return logs.open(NAME);
  }
}
