// Owns: spans over the OpenTelemetry API: whatever SDK the process has registered records them, and without one there
// are none. Does not own: sampling and export, which are the SDK's.
import {
  context, isSpanContextValid, ProxyTracerProvider, type Span as OtelSpan, SpanKind, SpanStatusCode, trace, type Tracer,
} from "@opentelemetry/api";
import type { Span, SpanAttributes, SpanEnd, SpanSpec, Tracing } from "../env/tracing.ts";
import { formatTraceparent, parseTraceparent } from "../invocation/core/trace-context.ts";

const LIBRARY = "aether";
const KINDS = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL } as const;
/** What the standard calls the class of a failure. */
const ERROR_TYPE = "error.type";

/** `everywhere`: attributes of all spans. */
export function createOtelTracing(everywhere: SpanAttributes = {}): Tracing {
  let known: Tracer | undefined;
  // An SDK may be registered later than this is made, and stays.
  const tracer = (): Tracer | undefined => (known ??= registeredTracer());
  return {
    get isOn() {
      return tracer() !== undefined;
    },
    begin: (spec) => {
      const found = tracer();
      return found === undefined ? undefined : begin(found, spec, everywhere);
    },
  };
}

/** Undefined as long as the process has no SDK. */
function registeredTracer(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  return provider instanceof ProxyTracerProvider ? provider.getDelegateTracer(LIBRARY) : provider.getTracer(LIBRARY);
}

function begin(tracer: Tracer, spec: SpanSpec, everywhere: SpanAttributes): Span | undefined {
  const { name, kind, parent, sinceMs, attributes } = spec;
  const within = parseTraceparent(parent);
  const active = context.active();
  const caused = within === undefined ? active : trace.setSpanContext(active, {
    traceId: within.traceId, spanId: within.spanId, traceFlags: Number.parseInt(within.flags, 16), isRemote: true,
  });
  const span = tracer.startSpan(name, {
    kind: KINDS[kind],
    attributes: { ...everywhere, ...attributes },
    ...(sinceMs !== undefined && { startTime: performance.timeOrigin + performance.now() - sinceMs }),
  }, caused);
  return isSpanContextValid(span.spanContext()) ? recorded(span) : undefined;
}

function recorded(span: OtelSpan): Span {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return {
    traceparent: formatTraceparent({ traceId, spanId, flags: traceFlags.toString(16).padStart(2, "0") }),
    note: (event, attributes) => void span.addEvent(event, { ...attributes }),
    end: ({ error, attributes }: SpanEnd = {}) => {
      if (attributes !== undefined) span.setAttributes({ ...attributes });
      if (error !== undefined) span.setAttribute(ERROR_TYPE, error).setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    },
  };
}
