// Owns: the span of a piece of work that has an answer or fails. Does not own: spans that say more of their end
// (invoker.ts, traced-instances.ts).
import { toAetherError } from "../base/errors.ts";
import type { SpanAttributes, SpanSpec, Tracing } from "../env/tracing.ts";

export interface TracedWork<T> extends Pick<SpanSpec, "name" | "kind" | "attributes"> {
  /** Of what it belongs to, where the caller says that; else it belongs to what its process has under way. */
  readonly traceparent?: string | undefined;
  /** What the span says of the answer. */
  readonly told?: (answer: T) => SpanAttributes;
}

/** `run` is given the context that goes with what it causes, if there is one. */
export async function traced<T>(
  tracing: Tracing | undefined,
  { name, kind, attributes, traceparent, told }: TracedWork<T>,
  run: (traceparent: string | undefined) => Promise<T>,
): Promise<T> {
  const span = tracing?.begin({ name, kind, parent: traceparent, attributes });
  if (span === undefined) return await run(traceparent);
  try {
    const answer = await run(span.traceparent);
    span.end(told === undefined ? {} : { attributes: told(answer) });
    return answer;
  } catch (thrown) {
    span.end({ error: toAetherError(thrown).code });
    throw thrown;
  }
}
