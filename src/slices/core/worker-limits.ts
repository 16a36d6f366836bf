// Owns: how large the parts of a worker's messages may be, for both sides: the worker keeps to it, its node checks it.
import { KiB } from "../../base/units.ts";

/** Longest line and largest fields of a line in the log; what is longer is cut, or left out. */
export const LOG_TEXT_LENGTH_MAX = 8 * KiB;
export const LOG_FIELDS_BYTES_MAX = 8 * KiB;
/** Names, keys and trace headers of a call. */
export const CALL_TEXT_LENGTH_MAX = 1_024;
