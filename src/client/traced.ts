// Owns: the span of what a client asks of the cluster, as a part of what its process has under way.
import { toAetherError } from "../base/errors.ts";
import type { SpanAttributes, Tracing } from "../env/tracing.ts";

export interface TracedRequest {
  readonly name: string;
  /** Of what it belongs to, where the caller says that. */
  readonly traceparent?: string | undefined;
  readonly attributes: SpanAttributes;
}

/** `run` is given the context that goes with the request, if there is one. */
export async function traced<T>(
  tracing: Tracing | undefined,
  { name, traceparent, attributes }: TracedRequest,
  run: (traceparent: string | undefined) => Promise<T>,
): Promise<T> {
  const span = tracing?.begin({ name, kind: "client", parent: traceparent, attributes });
  if (span === undefined) return await run(traceparent);
  try {
    const answer = await run(span.traceparent);
    span.end();
    return answer;
  } catch (thrown) {
    span.end({ error: toAetherError(thrown).code });
    throw thrown;
  }
}
