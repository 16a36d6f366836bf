// Owns: what an answer of an MCP server to a call means: a value for the agent, or an error that says what is known.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseJson } from "../http/answers.ts";

/** What a tool without `output` answers: the answer of the server as the protocol has it. */
export const mcpAnswerSchema = z.object({
  content: z.array(z.looseObject({ type: z.string() })),
  structuredContent: z.record(z.string(), z.unknown()).optional(),
});
export type McpAnswer = z.output<typeof mcpAnswerSchema>;

/** A call that the server says it could not do. */
export interface McpFailure {
  /** What the server says of it. */
  readonly text: string;
  /** Of an error of the protocol (JSON-RPC), as when arguments are wrong; absent where the tool itself failed. */
  readonly code?: number;
  /** Of a tool that failed. */
  readonly answer?: McpAnswer;
}

/** Of the words of a server in an error. */
const SAID_LENGTH_MAX = 2_000;

export type McpResult = McpAnswer & { readonly isError: boolean };

/**
 * What the agent's code gets where the tool says what its `output` is: the structured content, and where the server
 * gives none its text, read as JSON if it is some.
 */
export function valueOf({ content, structuredContent }: McpAnswer): unknown {
  if (structuredContent !== undefined) return structuredContent;
  const text = textOf(content);
  return parseJson(text) ?? text;
}

export function answerOf({ content, structuredContent }: McpResult): McpAnswer {
  return structuredContent === undefined ? { content } : { content, structuredContent };
}

export function failureOf(result: McpResult): McpFailure {
  return { text: said(textOf(result.content)), answer: answerOf(result) };
}

export function failureError(tool: string, { text, code }: McpFailure): AetherError {
  const what = code === undefined ? "failed" : `was refused with ${code}`;
  const message = `the tool ${tool} ${what}: ${text === "" ? "the server does not say why" : text}`;
  return new AetherError("E_HANDLER", message, {
    outcome: "unknown", details: { tool, text, ...(code !== undefined && { code }) },
  });
}

export function said(text: string): string {
  return text.replace(/\s+/g, " ").trim().slice(0, SAID_LENGTH_MAX);
}

function textOf(content: McpAnswer["content"]): string {
  const texts = content.flatMap((block) => (typeof block["text"] === "string" ? [block["text"]] : []));
  return texts.join("\n");
}
