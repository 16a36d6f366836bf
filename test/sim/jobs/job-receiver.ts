// Owns: the webhook of a run of jobs: what it is told, and how it answers. The first time that it hears of something it
// may be busy, or have heard it without saying so. Does not own: what it has to be told (notice-check.ts).
import { crc32 } from "../../../src/base/digest.ts";
import type { NoticeRequest } from "../../../src/jobs/webhooks/notice-sender.ts";
import type { NodeSeams } from "../../../src/testkit/node-seams.ts";
import type { SimProcess } from "../../../src/testkit/sim/sim-process.ts";
import type { Notice } from "./job-books.ts";

const SECRET = "hook-key";
/** How it takes what it hears of for the first time. */
const HOWS = ["well", "well", "well", "busy", "loses the answer"] as const;
const OK = 200;
const BUSY = 503;

export class JobReceiver {
  /** As often as it was told. */
  readonly notices: Notice[] = [];

  seams(): Pick<NodeSeams, "jobs" | "webhooks"> {
    return {
      jobs: { webhooks: [{ name: "people", url: "https://people.example/", secret: SECRET }] },
      webhooks: {
        secrets: { [SECRET]: "a secret of eighteen" },
        sender: (process) => ({ send: (request) => this.take(process, request) }),
      },
    };
  }

  private async take(process: SimProcess, { headers, body }: NoticeRequest): Promise<{ readonly status: number }> {
    // What a dead process still does reaches nobody.
    if (!process.isAlive) return await new Promise(() => undefined);
    const id = headers["idempotency-key"] ?? "";
    const isFirst = !this.notices.some((one) => one.id === id);
    const how = isFirst ? HOWS[crc32(new TextEncoder().encode(id)) % HOWS.length] : "well";
    this.notices.push({ id, body, isTaken: how !== "busy" });
    if (how === "loses the answer") throw new Error("the connection was lost");
    return { status: how === "busy" ? BUSY : OK };
  }
}
