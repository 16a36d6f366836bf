// Owns: the lines of one slice from all nodes of the cluster, in the order of their times. Each node keeps its own.
// Does not own: how they are shown.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { CliIo } from "./cli-io.ts";
import { HttpApi } from "./http-api.ts";
import { apiPath } from "./options.ts";

/** A node that does not answer must not keep back what the others say. */
const ANSWER_MS_MAX = 2 * SECOND_MS;
/** Until a node that did not answer is asked again. */
const AGAIN_AFTER_MS = 5 * SECOND_MS;
/** Until the cluster is asked again which nodes it has. */
const NODES_AFTER_MS = 5 * SECOND_MS;

const lineSchema = z.object({
  at: z.number(),
  instance: z.string(),
  level: z.string(),
  text: z.string(),
  fields: z.record(z.string(), z.unknown()).optional(),
});
const logSchema = z.object({
  node: z.string(),
  lines: z.array(lineSchema),
  next: z.string(),
  isComplete: z.boolean(),
});
const nodeSchema = z.object({ id: z.string(), status: z.string(), address: z.string().nullable() });
const clusterSchema = z.object({ nodes: z.array(nodeSchema) });

export type SliceLine = z.output<typeof lineSchema> & { readonly node: string };

interface Source {
  readonly node: string;
  readonly api: HttpApi;
  /** Where its log goes on; undefined before its first answer. */
  next: string | undefined;
  silentUntilMs: number;
  /** What was said about it last, so that it is said once. */
  told: string;
}

export class SliceLines {
  private readonly io: CliIo;
  private readonly api: HttpApi;
  private readonly slice: string;
  private readonly sources = new Map<string, Source>();
  private knownUntilMs = Number.NEGATIVE_INFINITY;

  constructor(io: CliIo, api: HttpApi, slice: string) {
    this.io = io;
    this.api = api;
    this.slice = slice;
  }

  /**
   * The lines since the last time, `linesMax` of each node at most. What a node cannot give is told on stderr.
   * @throws AetherError E_NOT_FOUND when no node knows the slice; E_UNAVAILABLE when the cluster cannot be asked
   */
  async read(linesMax: number): Promise<readonly SliceLine[]> {
    await this.learnNodes();
    const asked = [...this.sources.values()].filter(({ silentUntilMs }) => silentUntilMs <= this.io.nowMs());
    const answers = await Promise.all(asked.map((source) => this.ask(source, linesMax)));
    const refusal = answers.find((answer) => answer instanceof AetherError);
    if (refusal !== undefined && answers.every((answer) => answer instanceof AetherError)) throw refusal;
    const lines = answers.flatMap((answer) => (answer instanceof AetherError ? [] : answer));
    return lines.sort((a, b) => a.at - b.at);
  }

  /** Lines, in the order in which their node has them; the refusal of a node that knows no such slice. */
  private async ask(source: Source, linesMax: number): Promise<readonly SliceLine[] | AetherError> {
    const query = new URLSearchParams({ limit: String(linesMax) });
    if (source.next !== undefined) query.set("after", source.next);
    const path = `${apiPath("/v1/slices", this.slice)}/log?${query.toString()}`;
    try {
      const answer = await source.api.request(logSchema, "GET", path, { timeoutMs: ANSWER_MS_MAX });
      const isFirst = source.next === undefined;
      source.next = answer.next;
      // At first nobody asked for more than the latest ones.
      const gap = `${source.node} said more than it keeps: lines are missing here`;
      this.tell(source, answer.isComplete || isFirst ? "" : gap);
      return answer.lines.map((line) => ({ ...line, node: source.node }));
    } catch (error) {
      if (!(error instanceof AetherError)) throw error;
      if (error.code === "E_NOT_FOUND" || error.code === "E_INVALID") return error;
      this.tell(source, `${source.node} does not say what runs there: ${error.message}`);
      source.silentUntilMs = this.io.nowMs() + AGAIN_AFTER_MS;
      return [];
    }
  }

  /** Nodes come and go while somebody follows. */
  private async learnNodes(): Promise<void> {
    if (this.io.nowMs() < this.knownUntilMs) return;
    let nodes: readonly z.output<typeof nodeSchema>[] = [];
    try {
      nodes = (await this.askAnyone()).nodes;
    } catch (error) {
      if (this.sources.size === 0) throw error;
      // ignored: the nodes that were known are asked as before, and asked for the others later
    }
    this.knownUntilMs = this.io.nowMs() + NODES_AFTER_MS;
    for (const { id, status, address } of nodes) {
      if (address === null || status === "gone") continue;
      const url = address.replace(/\/+$/, "");
      if (this.sources.get(id)?.api.url === url) continue;
      const api = new HttpApi(this.io, url);
      this.sources.set(id, { node: id, api, next: undefined, silentUntilMs: 0, told: "" });
    }
  }

  private async askAnyone(): Promise<z.output<typeof clusterSchema>> {
    const apis = [this.api, ...[...this.sources.values()].map(({ api }) => api)];
    let failure: unknown;
    for (const api of apis) {
      try {
        return await api.request(clusterSchema, "GET", "/v1/cluster", { timeoutMs: ANSWER_MS_MAX });
      } catch (error) {
        failure ??= error;
      }
    }
    throw failure;
  }

  private tell(source: Source, text: string): void {
    if (text !== "" && text !== source.told) this.io.report(text);
    source.told = text;
  }
}
