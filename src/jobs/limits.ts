// Owns: the limits of jobs as their doors and services keep them.
import { MiB, SECOND_MS } from "../base/units.ts";

/** Of the input of a job, or the payload of a signal, encoded: one door takes it whole, in one turn of the thread. */
export const JOB_TOLD_BYTES_MAX = 4 * MiB;
/** Longest wait of a door for a payload to be stored. */
export const PAYLOAD_KEEP_MS_MAX = 15 * SECOND_MS;
/** Attributes of one job: how many, and the characters of a name or value. Listings look at them. */
export const JOB_ATTRIBUTES_MAX = 16;
export const JOB_ATTRIBUTE_CHARACTERS_MAX = 256;
/** Labels that a start may ask for. */
export const JOB_LABELS_MAX = 16;
/** Priorities are from minus this to this. */
export const JOB_PRIORITY_MAX = 1_000;
/** Jobs, or events of a job, in one answer. */
export const JOBS_PAGE_MAX = 1_000;
/** Jobs that one request looks at for those that its filter wants; then it says where to go on. */
export const JOBS_SCANNED_MAX = 10_000;
/** Children that are shown with their parent. */
export const CHILDREN_SHOWN_MAX = 100;
/** Longest wait for the result of a job in one request; who wants to wait longer asks again. */
export const RESULT_WAIT_MS_MAX = 60 * SECOND_MS;
/** For starting a worker and replaying a log there; one of 100,000 events takes some seconds. */
export const REPLAY_MS_MAX = 60 * SECOND_MS;
/** What a job that is asked to hold still may take for it: the calls that it has under way. */
export const HOLD_MS_MAX = 30 * SECOND_MS;
