// Owns: the demo's way to the cluster while its nodes die: every request is one that may be made twice, and is made
// through another node until one answers.
import type { z } from "zod";
import type { ErrorCode } from "../../base/error-catalog.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";
import { HttpApi } from "../http-api.ts";
import { jobListSchema, JOBS, type ListedJob } from "../job-answers.ts";

const PATIENCE_MS = 30_000;
const ATTEMPT_MS = 3_000;
const PAUSE_MS = 100;
const PAGE = 1_000;
/** What another node would say too. */
const FINAL: readonly ErrorCode[] = ["E_CONFLICT", "E_NOT_FOUND", "E_INVALID", "E_VERSION"];

export interface AgentRequest {
  readonly method?: string;
  readonly body?: unknown;
  readonly key?: string;
}

export class AgentApi {
  private readonly io: CliIo;
  private readonly nodes: readonly HttpApi[];
  private last = 0;

  constructor(io: CliIo, apis: readonly string[]) {
    this.io = io;
    this.nodes = apis.map((api) => new HttpApi(io, api));
  }

  /** @throws AetherError what a node said, when it is no matter of trying again; E_TIMEOUT when none answers. */
  async ask<T>(schema: z.ZodType<T>, path: string, { method = "GET", body, key }: AgentRequest = {}): Promise<T> {
    const startMs = this.io.nowMs();
    const options = {
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(key === undefined ? {} : { headers: { "Idempotency-Key": key } }),
      timeoutMs: ATTEMPT_MS,
    };
    for (;;) {
      try {
        return await this.next().request(schema, method, path, options);
      } catch (error) {
        const { code, message } = toAetherError(error);
        if (FINAL.includes(code)) throw error;
        if (this.io.nowMs() - startMs > PATIENCE_MS) {
          const what = `no node answered ${method} ${path} within ${PATIENCE_MS} ms: ${message}`;
          throw new AetherError("E_TIMEOUT", what, { cause: error });
        }
      }
      await this.io.sleep(PAUSE_MS);
    }
  }

  /** All jobs that a filter means, as the parameters of a query. */
  async jobs(filter: Readonly<Record<string, string>> = {}): Promise<readonly ListedJob[]> {
    const found: ListedJob[] = [];
    const query = new URLSearchParams({ ...filter, limit: String(PAGE) });
    for (;;) {
      const { jobs, next } = await this.ask(jobListSchema, `${JOBS}?${query.toString()}`);
      found.push(...jobs);
      if (next === undefined) return found;
      query.set("after", next);
    }
  }

  private next(): HttpApi {
    this.last = (this.last + 1) % this.nodes.length;
    const node = this.nodes[this.last];
    if (node === undefined) throw new AetherError("E_UNAVAILABLE", "there is no node to ask");
    return node;
  }
}
