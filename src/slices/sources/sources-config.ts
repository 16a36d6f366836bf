// Owns: where a node looks for artifacts that the cluster does not hold.
import { z } from "zod";

const SOURCES_MAX = 8;

const sourceSchema = z.union([
  z.strictObject({
    directory: z.string().min(1).describe("What `slice build --out` wrote there."),
  }),
  z.strictObject({
    url: z.url({ protocol: /^https?$/, error: "use an http:// or https:// address" })
      .refine((url) => URL.canParse(url) && new URL(url).username === "" && new URL(url).password === "", {
        error: "a password does not belong into an address: use tokenFile",
      })
      .describe("Archives and an `index.json` that `slice index` wrote."),
    tokenFile: z.string().min(1).exactOptional().describe("File with a token, sent as `Authorization: Bearer`."),
  }),
]);
export type SourceConfig = z.output<typeof sourceSchema>;

export const SourcesConfig = z.array(sourceSchema).max(SOURCES_MAX).default([])
  .describe("Places of artifacts that are asked when a blueprint is applied, in this order; equal on all nodes.");
