// Owns: the limits of the API's two doors, HTTP and the binary client protocol.
import { HOUR_MS, KiB, MiB, MINUTE_MS, SECOND_MS } from "../base/units.ts";

/** One HTTP body. A transaction is 1 MiB at most, and JSON is longer than what is stored. */
export const BODY_BYTES_MAX = 1 * MiB;
/** A body with the input of a job, or the payload of a signal: 4 MiB as they are stored, and JSON is longer. */
export const JOB_BODY_BYTES_MAX = 8 * MiB;
export const ARTIFACT_BYTES_MAX = 64 * MiB;
/** One frame of the client protocol: the largest call input (4 MiB) with headroom. */
export const CLIENT_FRAME_BYTES_MAX = 5 * MiB;
/** Bodies and frames of all clients together that have not come to their end, or whose request is not answered yet. */
export const RECEIVED_BYTES_MAX = 256 * MiB;
/** So much of each needs no room in that: as large as what a socket gives at once. */
export const RECEIVED_BYTES_FREE = 64 * KiB;
/** Messages of one turn are cut into frames of about this size, so that small ones do not wait for a giant. */
export const FRAME_BYTES_TARGET = 256 * KiB;
/** Requests of one client connection that wait for their answer; more are refused with E_OVERLOADED. */
export const SESSION_REQUESTS_MAX = 4_096;
export const SESSION_WATCHES_MAX = 256;
/** Reads of one connection that run at once; an answer is up to 1 MiB. The others wait their turn. */
export const SESSION_READS_MAX = 64;
/** Above this many unsent bytes a client's socket is not read any more: its own slowness holds it back. */
export const SOCKET_PAUSE_BYTES = 4 * MiB;
/** Unsent bytes of one watcher, above which it gets nothing more until it has read some; what waits is in the store. */
export const WATCH_BUFFER_BYTES_MAX = 1 * MiB;
/** Above this many bytes in a client's socket its next frames wait outside, where it shows that some are taken. */
export const SOCKET_HELD_ABOVE_BYTES = 16 * MiB;
/** A client with more than this to read has to go on reading: many large answers can be ready at once. */
export const SOCKET_BYTES_MAX = 64 * MiB;
/** For so long it may take nothing of it; then the connection is closed. */
export const SOCKET_STALL_MS = 15 * SECOND_MS;
/** What waits for all clients of a node; beyond it who has more than `SOCKET_BYTES_MAX` is closed at once. */
export const NODE_UNSENT_BYTES_MAX = 512 * MiB;

/** What one turn of the event loop begins for all clients together; a turn of more would keep votes waiting. */
export const TURN_REQUESTS_MAX = 4_096;
export const TURN_BYTES_MAX = 1 * MiB;
export const TURN_MS_MAX = 10;
/** What one connection begins before the next one that waits has its go. */
export const SHARE_REQUESTS_MAX = 32;
export const SHARE_BYTES_MAX = 64 * KiB;
/** Requests of all connections that wait for their answer. Beyond it nobody gets more than a share. */
export const NODE_REQUESTS_MAX = 65_536;

/** Lines of the log of a slice in one answer, which has 1 MiB at most. */
export const LOG_LINES_DEFAULT = 100;

export const KV_TIMEOUT_MS = 5 * SECOND_MS;
export const CALL_TIMEOUT_MS = 15 * SECOND_MS;
/** Longest deadline a caller may ask for. */
export const TIMEOUT_MS_MAX = HOUR_MS;
/** What one question for the next events may wait for one. */
export const EVENTS_WAIT_MS_MAX = MINUTE_MS;

/** Characters of an idempotency key of a job or a signal. */
export const JOB_KEY_LENGTH_MAX = 256;
/** Characters of the reason why a person gives a call of a tool up. */
export const REASON_LENGTH_MAX = 1_000;
