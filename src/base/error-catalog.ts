// Owns: every error code that may leave the process, with its outcome, retry advice and HTTP status.
// docs/reference/errors.md is generated from this table.

/** What the caller may conclude about the effect of the failed request. */
export type Outcome = "not-applied" | "unknown";
/** What a caller may do next: `elsewhere` = at once on another node, `same-id` = only with a request id. */
export type RetryAdvice = "never" | "later" | "elsewhere" | "same-id";

export interface ErrorSpec {
  readonly outcome: Outcome;
  readonly retry: RetryAdvice;
  readonly http: number;
  readonly doc: string;
}

export const ERRORS = {
  E_INVALID: {
    outcome: "not-applied",
    retry: "never",
    http: 400,
    doc: "The input does not match its schema; `details` names the place.",
  },
  E_UNAUTHENTICATED: { outcome: "not-applied", retry: "never", http: 401, doc: "No credentials, or bad ones." },
  E_REJECTED: {
    outcome: "not-applied",
    retry: "never",
    http: 403,
    doc: "A person did not allow it, or nobody did in time.",
  },
  E_FORBIDDEN: { outcome: "not-applied", retry: "never", http: 403, doc: "The caller may not do this." },
  E_NOT_FOUND: {
    outcome: "not-applied",
    retry: "never",
    http: 404,
    doc: "No such key, slice, method, artifact or blueprint.",
  },
  E_METHOD_NOT_ALLOWED: {
    outcome: "not-applied",
    retry: "never",
    http: 405,
    doc: "This path exists, but not with this HTTP method.",
  },
  E_CONFLICT: {
    outcome: "not-applied",
    retry: "never",
    http: 409,
    doc: "A compare failed, or an id is taken by other content.",
  },
  E_ROLLED_BACK: {
    outcome: "not-applied",
    retry: "never",
    http: 409,
    doc: "The new version of a slice did not work, and the cluster went back to the one before.",
  },
  E_FENCED: {
    outcome: "not-applied",
    retry: "never",
    http: 409,
    doc: "The epoch of the caller is not the current one, or the lease of its write is not held any more.",
  },
  E_COMPACTED: { outcome: "not-applied", retry: "never", http: 410, doc: "The revision asked for is no longer held." },
  E_TOO_LARGE: {
    outcome: "not-applied",
    retry: "never",
    http: 413,
    doc: "Over a stated limit; `details` has limit and actual.",
  },
  E_OVERLOADED: { outcome: "not-applied", retry: "later", http: 429, doc: "A bounded queue is full." },
  E_INTERNAL: {
    outcome: "unknown",
    retry: "never",
    http: 500,
    doc: "A bug in Aether: please report it with the node's log.",
  },
  E_NONDETERMINISM: {
    outcome: "not-applied",
    retry: "never",
    http: 500,
    doc: "The code of a job does not do what its log says; `details` has the call, what is expected and what is found.",
  },
  E_EFFECT_MISMATCH: {
    outcome: "not-applied",
    retry: "never",
    http: 409,
    doc: "What the verifier of a tool finds outside is not what the job's log says was done; `details` has the call.",
  },
  E_LLM_ANSWER: {
    outcome: "not-applied",
    retry: "never",
    http: 502,
    doc: "A model answered in another form than the one that was asked for; `details` has its text.",
  },
  E_HANDLER: {
    outcome: "unknown",
    retry: "never",
    http: 502,
    doc: "The slice's handler threw; `details` has its name and message.",
  },
  E_NO_QUORUM: {
    outcome: "not-applied",
    retry: "elsewhere",
    http: 503,
    doc: "This node does not see a majority of the voters.",
  },
  E_UNAVAILABLE: {
    outcome: "not-applied",
    retry: "elsewhere",
    http: 503,
    doc: "The node is starting, draining or catching up, or the slice has no live instance.",
  },
  E_TIMEOUT: { outcome: "unknown", retry: "same-id", http: 504, doc: "No answer before the deadline." },
  E_QUOTA: {
    outcome: "not-applied",
    retry: "later",
    http: 507,
    doc: "The store's quota refuses growth; deletes still work.",
  },
  E_CONFIG: {
    outcome: "not-applied",
    retry: "never",
    http: 500,
    doc: "The configuration is not usable; the message says which field and why.",
  },
  E_PORT_IN_USE: { outcome: "not-applied", retry: "never", http: 500, doc: "Another process listens on this address." },
  E_DATA_LOCKED: {
    outcome: "not-applied",
    retry: "never",
    http: 500,
    doc: "Another process has this data directory open.",
  },
  E_DATA_FOREIGN: {
    outcome: "not-applied",
    retry: "never",
    http: 500,
    doc: "The data directory belongs to another node or cluster.",
  },
  E_DATA_LOST: {
    outcome: "not-applied",
    retry: "never",
    http: 500,
    doc: "The data directory is empty or older than what this node had promised its peers.",
  },
  E_REMOVED: {
    outcome: "not-applied",
    retry: "never",
    http: 500,
    doc: "The node was removed from the cluster, or never was a member of it.",
  },
  E_DATA_CORRUPT: {
    outcome: "not-applied",
    retry: "never",
    http: 500,
    doc: "Stored bytes do not match their checksum, or records are missing.",
  },
  E_DISK: {
    outcome: "unknown",
    retry: "never",
    http: 500,
    doc: "The disk fails, is full, or cannot be opened; the node stops rather than promise what it may not hold.",
  },
  E_VERSION: {
    outcome: "not-applied",
    retry: "never",
    http: 400,
    doc: "Two nodes, a node and its data, or a node and an artifact have no version in common.",
  },
} as const satisfies Record<`E_${string}`, ErrorSpec>;

export type ErrorCode = keyof typeof ERRORS;
