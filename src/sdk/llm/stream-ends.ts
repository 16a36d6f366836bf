// Owns: how the stream of a model may end other than well, as errors; where a model is.
import { AetherError } from "../../base/errors.ts";
import { fieldOf, textOf } from "../http/answers.ts";
import type { LlmUsage } from "../llm.ts";

const SAID_LENGTH_MAX = 500;

/** @throws AetherError E_INVALID */
export function endpointOf(baseUrl: string, path: string): { readonly url: string; readonly host: string } {
  const base = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
  if (base === undefined || (base.protocol !== "http:" && base.protocol !== "https:")) {
    throw new AetherError("E_INVALID", `"${baseUrl}" is no address of a model: use http://… or https://…`);
  }
  if (base.username !== "" || base.password !== "") {
    throw new AetherError("E_INVALID", "the address of a model has a password in it: name a secret as apiKey instead");
  }
  return { url: `${base.href.replace(/\/+$/, "")}/${path}`, host: base.host };
}

/** The stream itself says that it failed. */
export function failedStream(who: string, error: unknown): AetherError {
  const said = (textOf(error, "message") || String(error)).slice(0, SAID_LENGTH_MAX);
  const type = fieldOf(error, "type");
  const isBusy = type === "overloaded_error" || type === "rate_limit_error" || type === "rate_limit_exceeded";
  return new AetherError(isBusy ? "E_OVERLOADED" : "E_UNAVAILABLE", `${who} failed while it answered (${said}): ` +
    "try again later", { outcome: "unknown" });
}

/** It ended before it said that it is over. What came is charged all the same. */
export function cutStream(who: string, { text, usage, cause, signal }: {
  readonly text: string;
  readonly usage: LlmUsage | undefined;
  readonly cause?: unknown;
  readonly signal: AbortSignal;
}): unknown {
  if (signal.aborted) return signal.reason;
  // What has a reason of its own keeps it.
  if (cause instanceof AetherError && cause.details["isSent"] === undefined) return cause;
  const told = usage === undefined ? {} : { inputTokens: usage.inputTokens, outputTokens: usage.outputTokens };
  return new AetherError("E_UNAVAILABLE", `the stream of ${who} ended after ${text.length} characters, before its ` +
    "end: try again", { outcome: "unknown", cause, details: { characters: text.length, ...told } });
}
