// Owns: /v1/kv/watch: changes below a prefix as server-sent events. Does not own: history, progress (the store does).
// A revision's `id:` is on the last event of its transaction, so that who resumes never starts inside one.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { jsonText } from "../../base/json-text.ts";
import type { KvChange, KvChangeSet } from "../../kvstore/core/schema.ts";
import { compacted } from "../../kvstore/kv-history.ts";
import type { KvWatch, KvWatchHandlers, KvWatchOptions } from "../../kvstore/kv.ts";
import type { ApiRequest } from "../api-request.ts";
import { parsePrefix } from "../core/kv-keys.ts";
import { EventStream, type ServerSentEvent } from "../event-stream.ts";
import { entryJson } from "../json.ts";
import { KV_TIMEOUT_MS } from "../limits.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

const watchQuery = z.strictObject({
  prefix: z.string().default(""),
  from: z.coerce.number().int().min(0).exactOptional(),
});

export function kvWatchRoutes(services: ApiServices, closing: AbortSignal): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/kv/watch",
      summary: "Changes below a prefix from a revision on, as server-sent events put, delete and progress",
      query: watchQuery,
      headers: {
        "Last-Event-ID": "The last revision already seen; 410 when what followed is not held any more",
        "X-Deadline-Ms": "How long a node that is not at that revision yet may take; default 5000",
      },
      answer: "text/event-stream",
      handle: (request) => {
        const prefix = parsePrefix(request.query(watchQuery).prefix);
        const fromRevision = firstWanted(request) ?? services.kv.revision + 1;
        const { oldestRevision, revision } = services.kv;
        if (fromRevision < oldestRevision) throw compacted(fromRevision, oldestRevision, revision);
        const timeoutMs = request.timeoutMs(KV_TIMEOUT_MS);
        return new WatchStream(services, closing).open(prefix, { fromRevision, timeoutMs });
      },
    },
  ];
}

/** The first revision that the watcher has not seen; undefined when it wants only what is still to come. */
function firstWanted(request: ApiRequest): number | undefined {
  const { from } = request.query(watchQuery);
  const lastSeen = request.header("last-event-id");
  if (lastSeen !== undefined && !/^\d{1,15}$/.test(lastSeen)) {
    throw new AetherError("E_INVALID", `Last-Event-ID is "${lastSeen}": use a revision this stream gave as id`);
  }
  // Of the two, `Last-Event-ID` is the newer: a client that reconnects repeats its first `from`.
  if (lastSeen !== undefined) return Number(lastSeen) + 1;
  // There is no revision 0: who wants it wants everything.
  return from === undefined ? undefined : Math.max(1, from);
}

class WatchStream {
  private readonly services: ApiServices;
  private readonly stream: EventStream;
  private watch: KvWatch | undefined;

  constructor(services: ApiServices, closing: AbortSignal) {
    this.services = services;
    const elsewhere = "watch on another one";
    this.stream = new EventStream({ closing, elsewhere, onGone: () => this.watch?.cancel() });
  }

  open(prefix: string, options: KvWatchOptions & { readonly fromRevision: number }): Response {
    const handlers: KvWatchHandlers = {
      onChanges: (changes) => this.sendChanges(changes),
      onProgress: (revision) => this.sendProgress(revision),
      isFull: () => this.stream.isFull,
      onEnd: (reason) => this.stream.fail(reason),
    };
    this.watch = this.services.kv.watch(prefix, handlers, options);
    this.sendProgress(options.fromRevision - 1);
    return this.stream.open();
  }

  private sendChanges(changes: KvChangeSet): void {
    const last = changes.changes.length - 1;
    this.stream.send(
      changes.changes.map((change, index) => changeEvent(change, index === last ? changes.revision : undefined)),
    );
  }

  private sendProgress(revision: number): void {
    this.stream.send([{ event: "progress", id: revision, data: jsonText({ revision }) }]);
  }
}

function changeEvent(change: KvChange, id: number | undefined): ServerSentEvent {
  const data = change.kind === "put" ? entryJson(change.entry) : { key: change.key, modRevision: change.modRevision };
  return { event: change.kind, ...(id === undefined ? {} : { id }), data: jsonText(data) };
}
