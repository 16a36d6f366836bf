// Owns: how long a call of a method may take. Apart from contract.ts: every worker needs it, and none needs schemas.
import { HOUR_MS, SECOND_MS } from "../base/units.ts";

export const TIMEOUT_MS_DEFAULT = 15 * SECOND_MS;
export const TIMEOUT_MS_MAX = HOUR_MS;
