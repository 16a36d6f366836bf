// Owns: what it costs to find and choose an endpoint among many, without a network: the code of a node, compiled.
import { SeededRandom } from "../../../dist/base/random.js";
import { parseArtifactId, parseNodeId } from "../../../dist/base/ids.js";
import { EndpointIndex } from "../../../dist/cluster/endpoints/endpoint-index.js";
import { pickEndpoint } from "../../../dist/invocation/core/pick-endpoint.js";
import { formatKey } from "../../../dist/kvstore/core/key.js";

const METHODS = 10;
const NODES = 10;

export interface LookupResult {
  readonly shape: string;
  readonly findMicros: number;
  readonly findAndPickMicros: number;
}

/** With so many endpoints: spread over slices of ten methods and ten instances, and all of one method. */
export function measureLookups(endpoints: number, rounds: number): readonly LookupResult[] {
  const slices = Math.ceil(endpoints / (METHODS * NODES));
  return [
    measure(`${endpoints} endpoints: ${slices} slices, 10 methods, 10 instances each`, slices, NODES, rounds),
    measure(`${endpoints} endpoints of one method`, 1, endpoints / METHODS, rounds, 1),
  ];
}

function measure(shape: string, slices: number, instances: number, rounds: number, methods = METHODS): LookupResult {
  const self = parseNodeId("n0");
  const index = new EndpointIndex(self);
  const perMethod = methods === 1 ? instances * METHODS : instances;
  for (let slice = 0; slice < slices; slice++) {
    const artifact = parseArtifactId(`bench:slice${slice}:1.0.0`);
    for (let method = 0; method < methods; method++) {
      for (let instance = 0; instance < perMethod; instance++) {
        const node = parseNodeId(`n${instance % NODES}`);
        const place = { slice: `slice${slice}`, method: `method${method}`, node, artifact };
        const key = formatKey({ kind: "endpoint", ...place, instance });
        index.replace(key, { ...place, index: instance, effect: "read", timeoutMs: 1_000 });
      }
    }
  }
  const names = Array.from({ length: slices }, (_, slice) => `slice${slice}`);
  const random = new SeededRandom(1);
  const choice = {
    tried: new Set<string>(),
    artifact: undefined,
    range: undefined,
    self,
    isServing: () => true,
    standingOf: (): "use" => "use",
    loadOf: () => ({ inFlight: 0, latencyMs: undefined }),
    random,
  } as const;
  const find = (round: number) => index.find(names[round % slices] ?? "", `method${round % methods}`);
  return {
    shape,
    findMicros: microsPer(rounds, (round) => find(round).all.endpoints.length),
    findAndPickMicros: microsPer(rounds, (round) => {
      return pickEndpoint({ ...choice, endpoints: find(round) })?.endpoint.timeoutMs ?? Number.NaN;
    }),
  };
}

function microsPer(rounds: number, run: (round: number) => number): number {
  let sum = 0;
  // Once more than counted, so that nothing is compiled or made for the first time meanwhile.
  for (let round = 0; round < rounds; round++) sum += run(round);
  const startMs = performance.now();
  for (let round = 0; round < rounds; round++) sum += run(round);
  const micros = ((performance.now() - startMs) * 1_000) / rounds;
  if (!Number.isFinite(sum)) throw new RangeError("an endpoint was not found");
  return micros;
}
