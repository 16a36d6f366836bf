// Owns: opening backups of the running store: consistent, of one revision, with everything that was acknowledged
// before it was asked for. Does not own: where they go (api), the chunks (snapshot-reader.ts).
import { AetherError } from "../base/errors.ts";
import { MINUTE_MS } from "../base/units.ts";
import type { Group } from "../consensus/group.ts";
import type { SnapshotReader } from "../consensus/state-machine.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { KvState } from "./kv-state.ts";

/** Each keeps the disk from giving back what it reads. */
export const BACKUPS_MAX = 2;
/** Whoever asks for nothing of a backup for so long keeps it from others no longer. */
export const BACKUP_IDLE_MS_MAX = 1 * MINUTE_MS;

export interface BackupPorts {
  readonly group: Pick<Group, "readBarrier">;
  readonly state: KvState;
  readonly clock: Pick<Clock, "setTimer">;
}

export class BackupSource {
  private readonly group: Pick<Group, "readBarrier">;
  private readonly state: Pick<KvState, "checkpoint" | "openSnapshot">;
  private readonly clock: Pick<Clock, "setTimer">;
  private open = 0;

  constructor(ports: BackupPorts) {
    this.clock = ports.clock;
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
    let idle: Timer | undefined;
    const close = async (): Promise<void> => {
      idle?.cancel();
      if (!isOpen) return;
      isOpen = false;
      this.open -= 1;
      await reader.close();
    };
    const waitForNext = (): void => {
      // ignored: it is a view that is given back, which nobody has any use for
      idle = this.clock.setTimer(BACKUP_IDLE_MS_MAX, () => void close().catch(() => undefined));
    };
    const next = async (): Promise<Uint8Array | undefined> => {
      idle?.cancel();
      if (!isOpen) throw notRead();
      const chunk = await reader.next();
      if (isOpen) waitForNext();
      return chunk;
    };
    waitForNext();
    return { appliedSlots, revision, stateHash, mark, bytesEstimated, next, close };
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

function notRead(): AetherError {
  const seconds = BACKUP_IDLE_MS_MAX / 1_000;
  return new AetherError("E_TIMEOUT", `nobody has read on in this backup for ${seconds} s: begin again`);
}
