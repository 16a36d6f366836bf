// Owns: the weight of a state that was written before states were weighed: counted once, when it is first opened.
// Every replica counts the same, whatever slot its record is of: the weight follows from the rows alone.
import type { OrderedStore } from "../env/store.ts";
import { CHECKPOINT_ROW, encodeCheckpoint, FIRST_ROW, type Checkpoint } from "./core/checkpoint.ts";
import { ENTRY_OVERHEAD_BYTES } from "./core/state-rows.ts";

/** Resolves when the record has a weight. @throws AetherError E_DISK */
export async function weighRows(store: OrderedStore, checkpoint: Checkpoint): Promise<void> {
  if (checkpoint.machine !== undefined) return;
  let machine = 0;
  for await (const [key, value] of store.entries({ from: FIRST_ROW })) {
    machine += key.byteLength + value.byteLength + ENTRY_OVERHEAD_BYTES;
  }
  const value = encodeCheckpoint({ ...checkpoint, machine });
  await new Promise<void>((resolve, reject) => {
    store.write([{ kind: "put", key: CHECKPOINT_ROW, value }], (failure) => {
      if (failure === undefined) resolve();
      else reject(failure);
    });
  });
}
