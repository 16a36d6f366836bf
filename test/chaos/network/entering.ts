// Owns: running a program again in namespaces of its own, where it may change network and mounts without anybody else
// noticing, and where everything it made ends with it.
import { execFileSync, spawn } from "node:child_process";
import { constants } from "node:os";

/** What the program is told when it runs inside. */
export const INSIDE_FLAG = "--inside-namespaces";

export type Entrance =
  | { readonly kind: "open"; readonly unshare: readonly string[] }
  | { readonly kind: "closed"; readonly reason: string };

/** Whether namespaces can be made here: as root, or as somebody who may be root in a user namespace. */
export function findEntrance(): Entrance {
  const attempts = process.getuid?.() === 0 ? [[]] : [["--map-root-user"]];
  let reason = "this is not Linux";
  for (const options of attempts) {
    const unshare = [...options, "--net", "--mount"];
    try {
      const probe = "mount -t tmpfs tmpfs /run && ip netns add n && ip link add v0 type veth peer name v1 netns n";
      execFileSync("unshare", [...unshare, "sh", "-c", probe], { stdio: ["ignore", "ignore", "pipe"] });
      return { kind: "open", unshare };
    } catch (error) {
      reason = firstLine(error);
    }
  }
  return { kind: "closed", reason };
}

/** Runs this very program again, inside; answers its exit code. */
export async function runInside({ unshare }: { readonly unshare: readonly string[] }): Promise<number> {
  const [node = "", ...args] = [process.execPath, ...process.execArgv, ...process.argv.slice(1), INSIDE_FLAG];
  const child = spawn("unshare", [...unshare, node, ...args], { stdio: "inherit" });
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on("SIGINT", pass);
  process.on("SIGTERM", pass);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

function firstLine(error: unknown): string {
  const said = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error);
  return said.trim().split("\n")[0] ?? "no reason was given";
}
