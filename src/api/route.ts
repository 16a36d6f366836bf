// Owns: what a route is. The table of routes makes the router, the 405 answers and the OpenAPI document.
import type { z } from "zod";
import type { ApiRequest } from "./api-request.ts";

export interface Route {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** With `:name` for one segment; a last `:name{.+}` takes the rest of the path. */
  readonly path: string;
  readonly summary: string;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType | "any JSON" | "bytes";
  /** Headers the route reads, with what they do. */
  readonly headers?: Readonly<Record<string, string>>;
  /** What a 200 carries. */
  readonly answer: string;
  /** Its 404 and 409 are ordinary answers, not refusals worth a line in the log at its usual level. */
  readonly expectsMisses?: boolean;
  /** Asked all the time by machines: it is no part of a trace. */
  readonly isProbe?: boolean;
  handle(request: ApiRequest): Promise<Response> | Response;
}
