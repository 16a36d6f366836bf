// Owns: what the spans of a call say of what is called, in the words of the standard.
import type { SpanAttributes } from "../env/tracing.ts";

export function rpcAttributes(slice: string, method: string): SpanAttributes {
  return { "rpc.system": "aether", "rpc.service": slice, "rpc.method": method };
}
