// Ports only: no code here.
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

export interface SpanSpec {
  /** One of few: what differs from span to span is an attribute. */
  readonly name: string;
  readonly kind: "server" | "client" | "internal";
  /** W3C `traceparent` of what caused it; what is under way in this process when absent. */
  readonly parent?: string | undefined;
  /** How long ago it began, for what is told of only when it is over. Default: now. */
  readonly sinceMs?: number;
  /** Never payloads. */
  readonly attributes: SpanAttributes;
}

export interface SpanEnd {
  /** Code or class of the failure; absent when it went well. Never its text, which may quote a payload. */
  readonly error?: string | undefined;
  readonly attributes?: SpanAttributes;
}

/** A part of a trace that is under way. */
export interface Span {
  /** What it causes is given this as its `traceparent`. */
  readonly traceparent: string;
  /** Something that happened within it. */
  note(event: string, attributes: SpanAttributes): void;
  /** Once. */
  end(end?: SpanEnd): void;
}

export interface Tracing {
  /** False while nobody records: then nothing that only a span would be told need be found out. */
  readonly isOn: boolean;
  /** Undefined while nobody records. */
  begin(spec: SpanSpec): Span | undefined;
}
