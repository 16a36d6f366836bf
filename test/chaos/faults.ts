// Owns: what can be done to a running cluster: each fault has a beginning, an end, and a name for the report.
import type { Random } from "../../src/base/random.ts";
import type { NodeFleet } from "../support/node-fleet.ts";
import type { ChaosNetwork, Direction } from "./network/chaos-network.ts";
import type { SmallDisk } from "./small-disk.ts";

export const FAULT_KINDS = [
  "kill", "pause", "isolate", "one way", "deaf", "mute", "slow", "power cut", "rolling restart", "disk full",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Those that can be on at the same time as one of the network. */
const PROCESS_FAULTS: readonly FaultKind[] = ["kill", "pause"];
const NETWORK_FAULTS: readonly FaultKind[] = ["isolate", "one way", "deaf", "mute", "slow"];

export interface Fault {
  readonly kind: FaultKind;
  readonly text: string;
  begin(): Promise<void>;
  end(): Promise<void>;
}

export interface FaultPorts {
  readonly fleet: NodeFleet;
  readonly network: ChaosNetwork;
  /** The disk of the last node; absent where none could be mounted. */
  readonly disk: SmallDisk | undefined;
  /** Starts a node, with its end watched; does not wait until it is ready. */
  launch(node: string): Promise<void>;
  /** What ends now was meant to. */
  expectEnd(node: string): void;
  report(violation: string): void;
}

/** Another one that can be on at the same time, for a process fault. */
export function drawCompanion(kind: FaultKind, random: Random): FaultKind | undefined {
  return PROCESS_FAULTS.includes(kind) ? NETWORK_FAULTS[random.below(NETWORK_FAULTS.length)] : undefined;
}

export function createFault(kind: FaultKind, ports: FaultPorts, random: Random): Fault {
  const { fleet, network } = ports;
  const { names } = fleet;
  const node = pick(names, random);
  const others = names.filter((name) => name !== node);
  const other = pick(others, random);
  const cut = (text: string, directions: readonly Direction[]): Fault => {
    return { kind, text, begin: () => network.cut(directions), end: () => network.heal() };
  };
  switch (kind) {
    case "kill":
      return { kind, text: `kill -9 ${node}`, begin: () => kill(ports, [node]), end: () => ports.launch(node) };
    case "pause":
      return {
        kind,
        text: `SIGSTOP ${node}`,
        begin: () => Promise.resolve(fleet.process(node).signal("SIGSTOP")),
        end: () => Promise.resolve(fleet.process(node).signal("SIGCONT")),
      };
    case "isolate": {
      const both = others.flatMap((to) => [{ from: node, to }, { from: to, to: node }]);
      return cut(`${node} cut off from the other nodes`, both);
    }
    case "one way":
      return cut(`nothing from ${node} reaches ${other}`, [{ from: node, to: other }]);
    case "deaf":
      return cut(`${node} hears no other node`, others.map((from) => ({ from, to: node })));
    case "mute":
      return cut(`no other node hears ${node}`, others.map((to) => ({ from: node, to })));
    case "slow":
      return {
        kind,
        text: `what ${node} sends is late and lossy`,
        begin: () => network.slow(node),
        end: () => network.heal(),
      };
    case "power cut":
      return {
        kind,
        text: "kill -9 of all nodes",
        begin: () => kill(ports, names),
        end: () => launchAll(ports, names),
      };
    case "rolling restart":
      return {
        kind,
        text: "all nodes restarted in turn",
        begin: () => restartInTurn(ports),
        end: () => Promise.resolve(),
      };
    case "disk full": {
      const last = names.at(-1) ?? node;
      return {
        kind,
        text: `disk of ${last} full`,
        begin: () => fillDisk(ports, last),
        end: () => clearDisk(ports, last),
      };
    }
  }
}

async function kill(ports: FaultPorts, nodes: readonly string[]): Promise<void> {
  for (const node of nodes) ports.expectEnd(node);
  await ports.fleet.kill(...nodes);
}

async function launchAll(ports: FaultPorts, nodes: readonly string[]): Promise<void> {
  await Promise.all(nodes.map((node) => ports.launch(node)));
}

async function restartInTurn({ fleet, expectEnd, launch, report }: FaultPorts): Promise<void> {
  for (const node of fleet.names) {
    expectEnd(node);
    const { code, signal } = await fleet.process(node).stop("SIGTERM");
    if (code !== 0) report(`${node} ended with code ${code}, signal ${signal} after SIGTERM`);
    await launch(node);
    await fleet.process(node).ready();
  }
}

/** The node must not go on with a disk that takes nothing: it ends by itself, which is what is waited for. */
async function fillDisk({ fleet, disk, expectEnd, report }: FaultPorts, node: string): Promise<void> {
  if (disk === undefined) throw new Error("there is no small disk");
  expectEnd(node);
  await disk.fill();
  const { code } = await fleet.process(node).waitForEnd();
  const saysWhy = fleet.process(node).complaints.some((line) => line.startsWith("aether: E_DISK: "));
  if (code !== 1 || !saysWhy) report(`${node} with a full disk: ${fleet.process(node).transcript()}`);
}

async function clearDisk({ disk, launch }: FaultPorts, node: string): Promise<void> {
  await disk?.clear();
  await launch(node);
}

function pick(items: readonly string[], random: Random): string {
  const item = items[random.below(items.length)];
  if (item === undefined) throw new RangeError("nothing to pick from");
  return item;
}
