// Owns: opening backups of the running store: consistent, of one revision, with everything that was acknowledged
// before it was asked for. Does not own: where they go (api), the chunks (snapshot-reader.ts).
import { AetherError } from "../base/errors.ts";
import type { Group } from "../consensus/group.ts";
import type { SnapshotReader } from "../consensus/state-machine.ts";
import type { KvState } from "./kv-state.ts";

/** Each keeps the disk from giving back what it reads. */
export const BACKUPS_MAX = 2;

export class BackupSource {
  private readonly group: Pick<Group, "readBarrier">;
  private readonly state: Pick<KvState, "checkpoint" | "openSnapshot">;
  private open = 0;

  constructor(ports: { readonly group: Pick<Group, "readBarrier">; readonly state: KvState }) {
    this.group = ports.group;
    this.state = ports.state;
  }

  /**
   * A view of the state that its caller closes.
   * @throws AetherError E_OVERLOADED above two at a time, E_NO_QUORUM, E_UNAVAILABLE
   */
  async begin(): Promise<SnapshotReader> {
    if (this.open >= BACKUPS_MAX) {
      const message = `${this.open} backups of this node are under way: wait for one, or use another node`;
      throw new AetherError("E_OVERLOADED", message);
    }
    this.open += 1;
    try {
      await this.catchUp();
      await this.state.checkpoint();
      const reader = await this.state.openSnapshot();
      if (reader !== undefined) return this.counted(reader);
      throw new AetherError("E_UNAVAILABLE", "this node has written nothing to its disk yet: try again");
    } catch (error) {
      this.open -= 1;
      throw error;
    }
  }

  private counted(reader: SnapshotReader): SnapshotReader {
    const { appliedSlots, revision, stateHash, mark, bytesEstimated } = reader;
    let isOpen = true;
    const close = async (): Promise<void> => {
      if (!isOpen) return;
      isOpen = false;
      this.open -= 1;
      await reader.close();
    };
    return { appliedSlots, revision, stateHash, mark, bytesEstimated, next: () => reader.next(), close };
  }

  private catchUp(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.group.readBarrier((outcome) => {
        if (outcome.kind === "ready") resolve();
        else reject(new AetherError(outcome.code, `cannot begin a backup: ${outcome.reason}`));
      });
    });
  }
}
