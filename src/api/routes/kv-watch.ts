// Owns: /v1/kv/watch: changes below a prefix as server-sent events. Does not own: history; a watch is live.
// A revision's `id:` is on the last event of its transaction, so that who resumes never starts inside one.
import { z } from "zod";
import { AetherError, toAetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock, Timer } from "../../env/clock.ts";
import type { KvChange, KvChangeSet } from "../../kvstore/core/schema.ts";
import type { KvWatch } from "../../kvstore/kv.ts";
import type { ApiRequest } from "../api-request.ts";
import { parsePrefix } from "../core/kv-keys.ts";
import { EventStream, type ServerSentEvent } from "../event-stream.ts";
import { entryJson, jsonText } from "../json.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

/** Shorter than the idle limits of common proxies. */
const PROGRESS_INTERVAL_MS = 10 * SECOND_MS;

const watchQuery = z.strictObject({
  prefix: z.string().default(""),
  from: z.coerce.number().int().min(0).exactOptional(),
});

export function kvWatchRoutes(services: ApiServices, clock: Clock, closing: AbortSignal): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/kv/watch",
      summary: "Changes below a prefix, as server-sent events put, delete and progress",
      query: watchQuery,
      headers: { "Last-Event-ID": "The last revision already seen; 410 when what followed is not held any more" },
      answer: "text/event-stream",
      handle: (request) => {
        const { prefix } = request.query(watchQuery);
        const afterRevision = resumePoint(request, services.kv.revision);
        return new WatchStream(services, clock, closing).open(parsePrefix(prefix), afterRevision);
      },
    },
  ];
}

/** Changes up to this revision are not sent. @throws AetherError E_COMPACTED when later ones have gone by already. */
function resumePoint(request: ApiRequest, revision: number): number {
  const { from } = request.query(watchQuery);
  const lastSeen = request.header("last-event-id");
  if (lastSeen !== undefined && !/^\d{1,15}$/.test(lastSeen)) {
    throw new AetherError("E_INVALID", `Last-Event-ID is "${lastSeen}": use a revision this stream gave as id`);
  }
  // Of the two, `Last-Event-ID` is the newer: a client that reconnects repeats its first `from`.
  const after = lastSeen !== undefined ? Number(lastSeen) : from !== undefined ? from - 1 : revision;
  if (after >= revision) return after;
  throw new AetherError(
    "E_COMPACTED",
    `changes after revision ${after} are not held here any more; list the prefix, then watch without from`,
    { outcome: "none", details: { from: after + 1, revision } },
  );
}

class WatchStream {
  private readonly services: ApiServices;
  private readonly clock: Clock;
  private readonly closing: AbortSignal;
  private readonly stream: EventStream;
  private watch: KvWatch | undefined;
  private progress: Timer | undefined;
  private sentRevision = 0;

  constructor(services: ApiServices, clock: Clock, closing: AbortSignal) {
    this.services = services;
    this.clock = clock;
    this.closing = closing;
    this.stream = new EventStream(() => this.release());
  }

  open(prefix: string, afterRevision: number): Response {
    this.sentRevision = afterRevision;
    this.closing.addEventListener("abort", this.onClosing);
    this.watch = this.services.kv.watch(prefix, {
      onChanges: (changes) => this.sendChanges(changes),
      onEnd: (reason) => this.stream.end(errorEvent(reason)),
    });
    this.sendProgress(afterRevision);
    this.armProgress();
    return this.stream.response;
  }

  private sendChanges(changes: KvChangeSet): void {
    if (changes.revision <= this.sentRevision) return;
    const last = changes.changes.length - 1;
    const isSent = this.stream.send(
      changes.changes.map((change, index) => changeEvent(change, index === last ? changes.revision : undefined)),
    );
    if (isSent) this.sentRevision = changes.revision;
    else if (this.stream.isOpen) this.stream.end(errorEvent(this.tooSlow()));
  }

  private armProgress(): void {
    this.progress = this.clock.setTimer(PROGRESS_INTERVAL_MS, () => {
      this.armProgress();
      const { revision } = this.services.kv;
      // Changes up to `revision` may still be on their way to us in this turn; they must be sent before it is told.
      this.clock.defer(() => this.sendProgress(revision));
    });
  }

  private sendProgress(revision: number): void {
    const id = Math.max(revision, this.sentRevision);
    this.stream.send([{ event: "progress", id, data: jsonText({ revision: id }) }]);
  }

  private readonly onClosing = (): void => {
    this.stream.end(errorEvent(new AetherError("E_UNAVAILABLE", "this node is stopping; watch on another one")));
  };

  private tooSlow(): AetherError {
    return new AetherError(
      "E_OVERLOADED",
      `this watcher reads too slowly; resume after revision ${this.sentRevision} or list again`,
      { outcome: "none", details: { revision: this.sentRevision } },
    );
  }

  private release(): void {
    this.closing.removeEventListener("abort", this.onClosing);
    this.progress?.cancel();
    this.watch?.cancel();
  }
}

function changeEvent(change: KvChange, id: number | undefined): ServerSentEvent {
  const data = change.kind === "put" ? entryJson(change.entry) : { key: change.key, modRevision: change.modRevision };
  return { event: change.kind, ...(id === undefined ? {} : { id }), data: jsonText(data) };
}

function errorEvent(reason: Error): ServerSentEvent {
  return { event: "error", data: jsonText({ error: toAetherError(reason).toBody() }) };
}
