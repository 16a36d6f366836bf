// Owns: from an advisor of the rules to the model behind it.
import { present, unreachable } from "../base/assert.ts";
import type { LlmProvider } from "../sdk/llm.ts";
import { anthropic } from "../sdk/llm/anthropic.ts";
import { openAi } from "../sdk/llm/openai.ts";
import { secret } from "../sdk/secret.ts";
import type { Advisor } from "./core/rules.ts";

/** @throws AetherError E_INVALID for an unusable address */
export function openAdvisorModel({ provider, model, url, secret: name }: Advisor): LlmProvider {
  const at = url === undefined ? {} : { baseUrl: url };
  switch (provider) {
    case "openai":
      return openAi({ model, ...at, ...(name === undefined ? {} : { apiKey: secret(name) }) });
    case "anthropic":
      return anthropic({ model, ...at, apiKey: secret(present(name, "the schema wants a secret for this provider")) });
    default:
      return unreachable(provider);
  }
}
