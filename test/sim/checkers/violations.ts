// Owns: what checkers report. The first violation of a run is the one that counts; later ones are its echoes.

/** Which check found it: an invariant label (C1 to C12), "leases", "watches", "assertion", "fatal" or "liveness". */
export interface Violation {
  readonly check: string;
  readonly message: string;
}

export class Violations {
  private found: Violation | undefined;
  private readonly onFirst: (violation: Violation) => void;

  constructor(onFirst: (violation: Violation) => void = () => undefined) {
    this.onFirst = onFirst;
  }

  get first(): Violation | undefined {
    return this.found;
  }

  report(check: string, message: string): void {
    if (this.found !== undefined) return;
    this.found = { check, message };
    this.onFirst(this.found);
  }
}
