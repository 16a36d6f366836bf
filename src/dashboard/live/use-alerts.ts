// Owns: the alerts that fire, kept current while the page is seen.
import type { AlertsAnswer } from "../answers.ts";
import { useAnswer, type Answered } from "./use-answer.ts";

const EVERY_MS = 3_000;

export function useAlerts(): Answered<AlertsAnswer> {
  return useAnswer<AlertsAnswer>("/v1/alerts?state=firing", EVERY_MS);
}
