// Slow. `aether top` beside real nodes: once, as JSON, and live in a real terminal, which it leaves as it found it.
import { spawn } from "node:child_process";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { PROGRAM } from "../../src/base/package-files-adapter.ts";
import { eventually, type NodeFleet } from "../support/node-fleet.ts";
import { applySlices, callOver, createLabelledFleet, pushSlice, untilServed } from "./support/call-slices.ts";


let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await createLabelledFleet();
  await pushSlice(fleet, { artifact: "demo:target:1.0.0", methods: { where: { effect: "read", handler: "() => 1" } } });
  await applySlices(fleet, { target: { artifact: "demo:target@^1.0.0", labels: { name: "n2" } } });
  await untilServed(fleet, "target/where");
});

afterAll(() => fleet.close());

test("once, it shows every node, slice and method; as JSON, what it shows", async () => {
  keepCalling();
  await eventually("what was called is shown by every node", async () => {
    const shown = await Promise.all(fleet.names.map(async (name) =>
      (await fleet.command(name, "top", "--once", "--sort", "p99")).stdout.join("\n")));
    const hasAll = (text: string): boolean => [/^3 of 3 nodes report/m, /^jobs: 0 run[^\n]*\n(no alert fires|[A-Z]+ )/m, /^n1 +\d/m, /^n3 +\d/m,
      /^target +1 /m, /^target\.where +[1-9]/m].every((line) => line.test(text));
    return shown.every(hasAll) || undefined;
  });
  const { stdout } = await fleet.command("n3", "top", "--json");
  expect(JSON.parse(stdout.join(""))).toMatchObject({ nodes: [{ node: "n1" }, { node: "n2" }, { node: "n3" }] });
});

test("with a filter, it shows slices and methods that have the text in their name", async () => {
  keepCalling();
  const shown = async (filter: string): Promise<string> => {
    const { stdout } = await fleet.command("n1", "top", "--once", "--filter", filter);
    return stdout.flatMap((line) => /^target\S*/.exec(line) ?? []).join();
  };
  await eventually("the method alone is shown", async () => (await shown("whe")) === "target.where" || undefined);
  expect(await shown("nobody")).toBe("");
});

/** A method is shown for as long as it is called: all through this test. */
function keepCalling(): void {
  let isOver = false;
  const calling = (async () => {
    while (!isOver) await callOver(fleet, "n1", "target/where");
  })();
  onTestFinished(() => {
    isOver = true;
    return calling;
  });
}

test("live, it follows size and keys, goes on elsewhere without its node, and gives the terminal back", async () => {
  const top = `${process.execPath} ${PROGRAM} top --api ${fleet.api("n3")}`;
  const command = `stty cols 70 rows 12; ${top}; echo "ended $?"; ` +
    "stty -a | tr ' ' '\\n' | grep -E '^-?(icanon|echo)'";
  const terminal = spawn("script", ["-qfec", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => void terminal.kill("SIGKILL"));
  let seen = "";
  terminal.stdout.on("data", (data: Buffer) => (seen += data.toString("utf8")));
  const shows = async (what: string | RegExp): Promise<void> => {
    seen = "";
    await eventually(`the screen shows ${String(what)}`, () =>
      (typeof what === "string" ? seen.includes(what) : what.test(seen)) || undefined);
  };
  await shows("(by calls)");
  terminal.stdin.write("p");
  await shows("(by p99)");
  const lines = (seen.split("\u001b[H").at(-2) ?? "").split("\u001b[K\r\n");
  expect(lines.length).toBeLessThanOrEqual(12);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(70 + "\u001b[K\u001b[J".length);
  terminal.stdin.write("/where");
  await shows("names with: where_");
  terminal.stdin.write("\r");
  await shows('(by p99, with "where")');
  const withoutSlice = seen.slice(seen.lastIndexOf("\u001b[H"));
  expect(withoutSlice).not.toMatch(/\ntarget /);
  terminal.stdin.write("\u001b");
  await shows(/\ntarget [^]*\(by p99\)/);
  await fleet.kill("n3");
  await shows(/n3 STALE[^]*\(by p99\)/);
  await fleet.start("n3");
  await shows("3 of 3 nodes report");
  terminal.stdin.write("\u0003");
  await shows(/ended 0[^]*\n(icanon|echo)\r?\n[^]*(icanon|echo)\r?\n/);
  expect(seen).toContain("\u001b[?25h\u001b[?1049l");
  expect(seen).not.toMatch(/-icanon|-echo\b/);
});
