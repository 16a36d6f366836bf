// Owns: the exit codes of every command.

export const EXIT = {
  done: 0,
  /** Refused or failed: one line on stderr, with the code of the error. */
  failed: 1,
  /** The command line cannot be understood. */
  usage: 2,
  /** It may or may not have been applied. */
  unknown: 3,
} as const;
