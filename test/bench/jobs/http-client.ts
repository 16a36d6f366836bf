// Owns: requests over connections that are kept, with as little work as possible: the load shares the machine with
// what it measures.
import { Agent, request } from "node:http";
import { text } from "node:stream/consumers";

const CONNECTIONS_MAX = 256;

export class HttpClient {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX });

  /** The answer as JSON. @throws RangeError for any status but a good one */
  send(method: string, url: string, body?: unknown): Promise<unknown> {
    const sent = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const headers = sent === undefined ? {} : { "content-type": "application/json", "content-length": sent.length };
    return new Promise((resolve, reject) => {
      const out = request(url, { method, agent: this.agent, headers }, (answer) => {
        const status = answer.statusCode ?? 0;
        text(answer).then((found) => {
          if (status >= 200 && status < 300) resolve(found === "" ? undefined : JSON.parse(found));
          else reject(new RangeError(`${method} ${url}: ${status} ${found}`));
        }).catch(reject);
      });
      out.on("error", reject);
      out.end(sent);
    });
  }

  close(): void {
    this.agent.destroy();
  }
}
