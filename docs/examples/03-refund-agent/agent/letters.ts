// Owns: the model that reads customers' letters, what it is told, and what it may answer.
import { scripted } from "aether/slice";
import { z } from "zod";

export const REASONS = ["broken", "late", "missing", "none"] as const;

export const readingSchema = z.object({ reason: z.enum(REASONS) });

export const READER_IS_TOLD = "You read letters of customers. Say for which reason they want their money back.";

/**
 * It answers by a script, so that the example needs no key and costs nothing. With a real one, for example
 * `openAi({ model: "gpt-4o-mini", apiKey: secret("openai-key") })`, the agent's code is the same.
 */
export const letterReader = scripted(({ messages }) => {
  const letter = messages.map((message) => (message.role === "user" ? message.text : "")).join("\n");
  return { json: { reason: reasonIn(letter) } };
});

function reasonIn(letter: string): typeof REASONS[number] {
  if (/broken/i.test(letter)) return "broken";
  if (/late/i.test(letter)) return "late";
  return /never came/i.test(letter) ? "missing" : "none";
}
