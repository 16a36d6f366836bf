// Owns: a web server on loopback that stands for the world outside of a cluster.
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

export interface WebServer {
  readonly url: string;
  /** Whoever waits for an answer is hung up on. */
  close(): void;
}

export async function openWebServer(listener: RequestListener): Promise<WebServer> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
