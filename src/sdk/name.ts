// Owns: what contracts, methods, slices and blueprints may be called.
import { z } from "zod";

/** Names become segments of keys and of URLs. */
export const nameSchema = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,62}$/, {
  error: 'a name starts with a letter and has at most 63 of letters, digits, "_" and "-"',
});
