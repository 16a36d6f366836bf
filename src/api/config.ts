// Owns: the configuration of the API.
import { z } from "zod";
import { isLoopbackUrl } from "./core/origin.ts";

export const ApiConfig = z.object({
  api: z.string()
    .refine((url) => URL.canParse(url) && new URL(url).protocol === "http:", {
      error: "use an http:// address, for example http://127.0.0.1:7201",
    })
    .refine(isLoopbackUrl, {
      error: "only loopback addresses are served: without TLS and tokens everybody who reaches the port is trusted",
    })
    .default("http://127.0.0.1:7201")
    .describe("Address for clients, HTTP and WebSocket on one port. Port 0 takes a free one."),
  apiConnectionsMax: z.int().min(1).max(65_536).default(2_048)
    .describe("Open client connections; more are closed at once. They have at most half of the process's descriptors."),
  apiCloseTimeoutMs: z.int().min(0).max(60_000).default(3_000)
    .describe("Time for requests under way to finish when the node stops."),
  apiKill: z.enum(["refused", "allowed"]).default("refused")
    .describe("Whether the API may kill this process (SIGKILL), for development: `aether dev` allows it."),
});

export type ApiConfig = z.output<typeof ApiConfig>;
