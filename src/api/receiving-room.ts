// Owns: how much of bodies and frames that have not come to their end a node holds for all clients together. Each may
// be large, and there may be many connections: a limit for one alone would bound nothing.
// Does not own: how large one may be (limits.ts).
import { AetherError } from "../base/errors.ts";
import { RECEIVED_BYTES_FREE, RECEIVED_BYTES_MAX } from "./limits.ts";

export class ReceivingRoom {
  private taken = 0;

  /** A place for one body, or for the frames of one connection. */
  open(): ReceivingPlace {
    let held = 0;
    const hold = (bytes: number): void => {
      // Small ones need no room: whoever fills it keeps no small request from being answered.
      const before = Math.max(0, held - RECEIVED_BYTES_FREE);
      held = bytes;
      this.taken += Math.max(0, held - RECEIVED_BYTES_FREE) - before;
    };
    return {
      add: (bytes) => {
        const more = Math.max(0, held + bytes - RECEIVED_BYTES_FREE) - Math.max(0, held - RECEIVED_BYTES_FREE);
        if (more > 0 && this.taken + more > RECEIVED_BYTES_MAX) throw noRoom();
        hold(held + bytes);
      },
      empty: () => hold(0),
    };
  }
}

export interface ReceivingPlace {
  /** @throws AetherError E_OVERLOADED when all places together have too much */
  add(bytes: number): void;
  empty(): void;
}

function noRoom(): AetherError {
  const limit = RECEIVED_BYTES_MAX;
  const message = `this node is receiving ${limit} bytes for its clients, its limit: ask again, or another node`;
  return new AetherError("E_OVERLOADED", message, { details: { limit } });
}
