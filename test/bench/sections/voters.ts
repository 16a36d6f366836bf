// Owns: what more voters cost: rate of puts, and messages and bytes between nodes per write.
import { runClosedLoop } from "../closed-loop.ts";
import type { BenchCluster } from "../cluster.ts";
import { clientKey, valueOf } from "../values.ts";

const WARM_UP_MS = 500;

export interface VotersPlan {
  readonly clients: number;
  readonly measureMs: number;
}

export interface VotersRow {
  readonly system: string;
  readonly voters: number;
  readonly clients: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Between nodes, counted where they are sent; undefined where the system does not count them. */
  readonly messagesPerWrite: number | undefined;
  readonly framesPerWrite: number | undefined;
  readonly bytesPerWrite: number;
}

export async function measureVoters(
  cluster: BenchCluster,
  { clients, measureMs }: VotersPlan,
  progress: (line: string) => void,
): Promise<VotersRow> {
  const target = cluster.connect("pinned");
  let writes = 0;
  const before = await cluster.traffic();
  const result = await runClosedLoop({ clients, warmUpMs: WARM_UP_MS, measureMs }, async (client, count) => {
    await target.put(client, clientKey(client, count), valueOf(`${client}/${count}/`));
    writes += 1;
  });
  const after = await cluster.traffic();
  target.close();
  const perWrite = (field: "messages" | "frames" | "bytes"): number | undefined => {
    const [from, to] = [before[field], after[field]];
    return from === undefined || to === undefined ? undefined : (to - from) / writes;
  };
  const { perSecond, p50Ms, p99Ms } = result;
  const row = {
    system: cluster.system,
    voters: cluster.size,
    clients,
    perSecond,
    p50Ms,
    p99Ms,
    messagesPerWrite: perWrite("messages"),
    framesPerWrite: perWrite("frames"),
    bytesPerWrite: perWrite("bytes") ?? Number.NaN,
  };
  const messages = row.messagesPerWrite === undefined ? "" : `${row.messagesPerWrite.toFixed(2)} messages, `;
  const latency = `p50 ${p50Ms.toFixed(2)} ms`;
  progress(`${row.system}, ${row.voters} voters, ${clients} clients: ${perSecond} puts/s, ${latency}, ` +
    `${messages}${Math.round(row.bytesPerWrite)} bytes per write`);
  return row;
}
