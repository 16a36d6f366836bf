// Owns: how articles are named. A name is part of keys in the store, so it is a plain word.
import { z } from "zod";

export const sku = z.string().regex(/^[a-z0-9-]{1,40}$/, { error: "an article is named by letters, digits and -" });
