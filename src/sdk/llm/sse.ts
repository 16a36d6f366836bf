// Owns: server-sent events out of a stream of bytes, of bounded size. Does not own: where the bytes come from.
import { AetherError } from "../../base/errors.ts";
import { MiB } from "../../base/units.ts";

/** One event of a stream, its lines together. */
export const SSE_EVENT_CHARACTERS_MAX = MiB;

export interface SseEvent {
  /** Empty when the stream does not say. */
  readonly event: string;
  readonly data: string;
}

/** What is not ended by an empty line when the stream ends is no event, as the standard has it. */
export async function* readSse(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<SseEvent> {
  const decoder = new TextDecoder();
  let text = "";
  let event = "";
  let data: string[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length + size > SSE_EVENT_CHARACTERS_MAX) throw tooLarge();
    const { lines, rest } = cutLines(text);
    text = rest;
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) yield { event, data: data.join("\n") };
        event = "";
        data = [];
        size = 0;
        continue;
      }
      const { field, value } = readLine(line);
      size += line.length;
      if (field === "data") data.push(value);
      if (field === "event") event = value;
    }
  }
}

/** Whole lines. A CR at the end waits: its LF may be in the next chunk. */
function cutLines(text: string): { readonly lines: readonly string[]; readonly rest: string } {
  const end = text.endsWith("\r") ? text.length - 1 : text.length;
  const parts = text.slice(0, end).split(/\r\n|\n|\r/);
  const last = parts.pop() ?? "";
  return { lines: parts, rest: last + text.slice(end) };
}

/** A line that begins with a colon is a comment: its field is empty. */
function readLine(line: string): { readonly field: string; readonly value: string } {
  const at = line.indexOf(":");
  if (at < 0) return { field: line, value: "" };
  const value = line.slice(at + 1);
  return { field: line.slice(0, at).replace(/^\uFEFF/, ""), value: value.startsWith(" ") ? value.slice(1) : value };
}

function tooLarge(): AetherError {
  return new AetherError("E_TOO_LARGE", "the stream of a model has an event of more than " +
    `${SSE_EVENT_CHARACTERS_MAX} characters: ask for shorter answers`, {
    outcome: "unknown", details: { limit: SSE_EVENT_CHARACTERS_MAX },
  });
}
