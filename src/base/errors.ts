// Owns: the one class of operational errors that crosses an API. Bugs are assertions (assert.ts);
// expected answers are values (`{ kind: "refused" }`), not errors.
import { ERRORS, type ErrorCode, type Outcome } from "./error-catalog.ts";

export type ErrorDetails = Readonly<Record<string, unknown>>;

export interface AetherErrorOptions {
  readonly details?: ErrorDetails;
  /** Overrides the catalog's outcome where this occurrence knows better; "none" for reads. */
  readonly outcome?: Outcome | "none";
  readonly cause?: unknown;
}

/** The JSON form of an error on every wire: HTTP bodies, client frames, calls between nodes. */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
  readonly outcome?: Outcome;
  readonly details?: ErrorDetails;
}

/** An operational failure with a stable code, one sentence a person can act on, and its outcome. */
export class AetherError extends Error {
  override readonly name = "AetherError";
  readonly code: ErrorCode;
  readonly outcome: Outcome | undefined;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: AetherErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.outcome = options.outcome === "none" ? undefined : (options.outcome ?? ERRORS[code].outcome);
    this.details = options.details ?? {};
  }

  get httpStatus(): number {
    return ERRORS[this.code].http;
  }

  toBody(): ErrorBody {
    return {
      code: this.code,
      message: this.message,
      ...(this.outcome === undefined ? {} : { outcome: this.outcome }),
      ...(Object.keys(this.details).length === 0 ? {} : { details: this.details }),
    };
  }

  static fromBody(body: ErrorBody): AetherError {
    return new AetherError(body.code, body.message, {
      outcome: body.outcome ?? "none",
      ...(body.details === undefined ? {} : { details: body.details }),
    });
  }
}

/** Wraps anything thrown at a boundary; an unforeseen throw becomes `E_INTERNAL`, outcome unknown. */
export function toAetherError(thrown: unknown): AetherError {
  if (thrown instanceof AetherError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new AetherError("E_INTERNAL", message, { cause: thrown });
}
