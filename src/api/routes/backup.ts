// Owns: /v1/cluster/backup: the whole store at one revision, as a stream of bytes.
import type { SnapshotReader } from "../../consensus/state-machine.ts";
import { encodeBackupFrame } from "../core/backup-frame.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

/** Of the first frame, which says what follows. */
const BACKUP_STREAM_FORMAT = 1;

export function backupRoutes(services: ApiServices): readonly Route[] {
  return [
    {
      method: "POST",
      path: "/v1/cluster/backup",
      summary: "The whole store at one revision, as checked chunks; `aether cluster backup` writes them to files",
      answer: "application/octet-stream: frames of a 4-byte length and as many bytes; first JSON, then chunks",
      handle: async () => {
        const backup = await services.backups.begin();
        const { revision, stateHash, appliedSlots, bytesEstimated } = backup;
        const about = { format: BACKUP_STREAM_FORMAT, cluster: services.cluster().cluster, revision, stateHash };
        const first = JSON.stringify({ ...about, appliedSlots, bytesEstimated: bytesEstimated ?? null });
        const body = new ReadableStream<Uint8Array>(
          {
            start: (controller) => controller.enqueue(encodeBackupFrame(Buffer.from(first))),
            // A throw breaks the connection: a stream without its last chunk is no backup.
            pull: async (controller) => {
              const chunk = await nextOrClose(backup);
              if (chunk === undefined) controller.close();
              else controller.enqueue(encodeBackupFrame(chunk));
            },
            cancel: () => backup.close(),
          },
          { highWaterMark: 1 },
        );
        return new Response(body, { status: 200, headers: { "content-type": "application/octet-stream" } });
      },
    },
  ];
}

/** Gives the view back when there is nothing more to read, or nothing that can be read. */
async function nextOrClose(backup: SnapshotReader): Promise<Uint8Array | undefined> {
  try {
    const chunk = await backup.next();
    if (chunk === undefined) await backup.close();
    return chunk;
  } catch (error) {
    await backup.close();
    throw error;
  }
}
