// Owns: running seeds by hand: `npm run sim -- --seed N [--seeds COUNT] [--nodes N] [--workload NAME] [--planted FAULT]
// [--trace]`. Prints what the seeds covered; on a violation what was found, the last events and how to replay it.
import { parseArgs } from "node:util";
import { present } from "../../src/base/assert.ts";
import { decodeMessages } from "../../src/consensus/core/message-codec.ts";
import { batchKeyOf, choiceKeyOf, type Message } from "../../src/consensus/core/message.ts";
import { PLANTED_FAULTS } from "../../src/consensus/observer.ts";
import { formatTraceLine, type TraceLine } from "../../src/testkit/sim/trace.ts";
import { replayCommand } from "./replay-command.ts";
import { runSeed, type SeedOptions, type SeedResult } from "./run-seed.ts";
import { formatTotals, sumUp } from "./totals.ts";
import { WORKLOADS } from "./workloads/actions.ts";

const USAGE = `usage: npm run sim -- [options]
  --seed N          first seed (1)
  --seeds COUNT     how many seeds from there (1)
  --nodes N         number of nodes, 1 to 7, instead of what the seed draws
  --workload NAME   ${WORKLOADS.join(", ")}
  --planted FAULT   ${PLANTED_FAULTS.join(", ")}
  --trace           print every event`;

interface Arguments {
  readonly seed: number;
  readonly count: number;
  readonly options: SeedOptions;
}

async function main(): Promise<number> {
  const parsed = readArguments();
  if (typeof parsed === "string") {
    console.error(`${parsed}\n${USAGE}`);
    return 2;
  }
  const { seed, count, options } = parsed;
  const results: SeedResult[] = [];
  for (let next = seed; next < seed + count; next += 1) {
    const result = await runSeed(next, options);
    results.push(result);
    if (result.violation !== undefined) {
      printViolation(result, options);
      return 1;
    }
  }
  console.log(formatTotals(sumUp(results)));
  if (count === 1) console.log(`trace hash ${present(results[0], "one seed ran").traceHash}`);
  console.log("no violation");
  return 0;
}

function readArguments(): Arguments | string {
  let values: Readonly<Record<string, string | boolean | undefined>>;
  try {
    ({ values } = parseArgs({
      options: {
        seed: { type: "string" },
        seeds: { type: "string" },
        nodes: { type: "string" },
        workload: { type: "string" },
        planted: { type: "string" },
        trace: { type: "boolean" },
      },
    }));
  } catch (error) {
    return error instanceof Error ? error.message : "cannot read the arguments";
  }
  const seed = Number(values["seed"] ?? 1);
  const count = Number(values["seeds"] ?? 1);
  const nodeCount = values["nodes"] === undefined ? undefined : Number(values["nodes"]);
  const workload = WORKLOADS.find((name) => name === values["workload"]);
  const planted = PLANTED_FAULTS.find((name) => name === values["planted"]);
  if (!Number.isSafeInteger(seed) || seed < 0) return "--seed must be a whole number";
  if (!Number.isSafeInteger(count) || count < 1) return "--seeds must be a whole number of at least 1";
  if (nodeCount !== undefined && !(nodeCount >= 1 && nodeCount <= 7)) return "--nodes must be 1 to 7";
  if (values["workload"] !== undefined && workload === undefined) return "--workload has no such name";
  if (values["planted"] !== undefined && planted === undefined) return "--planted has no such fault";
  return {
    seed,
    count,
    options: {
      ...(nodeCount === undefined ? {} : { nodeCount }),
      ...(workload === undefined ? {} : { workload }),
      ...(planted === undefined ? {} : { planted }),
      ...(values["trace"] === true ? { onTraceLine: printLine } : {}),
    },
  };
}

function printViolation({ seed, violation, lastLines, traceHash }: SeedResult, options: SeedOptions): void {
  if (violation === undefined) return;
  if (options.onTraceLine === undefined) for (const line of lastLines) printLine(line);
  console.log(`\nVIOLATION of ${violation.check} at seed ${seed} (trace hash ${traceHash})`);
  console.log(violation.message);
  console.log(`\nreplay: ${replayCommand(seed, options)}`);
}

function printLine(line: TraceLine): void {
  console.log(formatTraceLine(line, describePayload));
}

function describePayload(payload: Uint8Array): string {
  const messages = decodeMessages(payload);
  return messages === undefined ? `${payload.byteLength} bytes` : messages.map(describeMessage).join(" ");
}

function describeMessage(message: Message): string {
  switch (message.kind) {
    case "ballot": {
      const { kind, slot, phase, choice } = message.ballot;
      return `${kind}(${slot}/${phase}=${choiceKeyOf(choice)})`;
    }
    case "proposal":
      return `proposal(${message.slot}=${choiceKeyOf(message.value)})`;
    case "decision":
      return `decision(${message.slot}=${choiceKeyOf(message.outcome)})`;
    case "batch":
      return `batch(${batchKeyOf(message.id)})`;
    case "status":
      return `status(applied ${message.applied}, decided ${message.decided}, doubt below ${message.doubtBelow})`;
    case "pull-slots":
      return `pull-slots(${message.slots.join(",")})`;
    case "log":
      return `log(from ${message.from}, ${message.entries.length} slots)`;
    default:
      return message.kind;
  }
}

process.exitCode = await main();
