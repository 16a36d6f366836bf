// Owns: the settings of alerts.
import { z } from "zod";
import { HOUR_MS } from "../base/units.ts";
import { haveOwnNames, webhookTarget } from "../jobs/webhooks/webhook.ts";
import type { AlertLimits } from "./core/alert-machine.ts";
import { ALERT_NAMES, alertRule, type AlertName } from "./core/alert-rules.ts";

const ruleSettings = z.strictObject({
  enabled: z.boolean().default(true),
  threshold: z.number().positive().exactOptional(),
  forMs: z.int().min(0).max(24 * HOUR_MS).exactOptional(),
});

const webhookSchema = z.strictObject({
  ...webhookTarget,
  severity: z.enum(["warning", "error"]).default("warning"),
});
export type AlertWebhook = z.output<typeof webhookSchema>;

export const ALERT_WEBHOOKS_MAX = 8;

export const AlertsConfig = z.strictObject({
  rules: z.partialRecord(z.enum(ALERT_NAMES), ruleSettings).default({})
    .describe("What is other than as shipped, by the name of the alert: `{ enabled?, threshold?, forMs? }`, see " +
      "[alerts](alerts.md). The leader goes by its own settings: keep them equal on all nodes."),
  webhooks: z.array(webhookSchema).max(ALERT_WEBHOOKS_MAX).refine(...haveOwnNames()).default([])
    .describe("Addresses that are told what fires and what is over: a list of `{ name, url, secret, severity? }`; " +
      "with severity `error` only of errors. Equal on all nodes."),
});
export type AlertsConfig = z.output<typeof AlertsConfig>;

/** Undefined for an alert that is switched off. */
export function limitsOf(name: AlertName, { rules }: Pick<AlertsConfig, "rules">): AlertLimits | undefined {
  const { clearAt, clearForMs, ...shipped } = alertRule(name);
  const { enabled, threshold = shipped.threshold, forMs = shipped.forMs } = rules[name] ?? { enabled: true };
  return enabled ? { threshold, forMs, clearForMs, clearBelow: threshold * clearAt } : undefined;
}
