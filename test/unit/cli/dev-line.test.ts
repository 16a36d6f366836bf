import { expect, test } from "vitest";
import { devLine } from "../../../src/cli/dev/dev-line.ts";

const line = (fields: Readonly<Record<string, unknown>>): string => JSON.stringify({
  time: "2026-01-02T03:04:05.678Z", node: "n1", ...fields,
});

test("a log line is shown in short, with its level only where something is wrong", () => {
  const up = line({ level: "info", event: "net.peer-up", peer: "n2" });
  expect(devLine("n1", up, "info")).toBe("n1 | net.peer-up peer=n2");
  const failed = line({ level: "warn", area: "net", event: "net.refused", reason: "another cluster", tries: 3 });
  expect(devLine("n1", failed, "warn")).toBe('n1 | warn: net.refused reason="another cluster" tries=3');
});

test("a log line below the level is not shown, nor one that is none of ours", () => {
  expect(devLine("n1", line({ level: "warn", event: "net.connect-failed" }), "error")).toBeUndefined();
  expect(devLine("n1", "{ cut off", "info")).toBeUndefined();
  expect(devLine("n1", '{"level":30,"msg":"a library"}', "info")).toBeUndefined();
});

test("what a slice says is shown at any level, and cannot command the terminal", () => {
  const said = line({ level: "info", event: "slice.log", slice: "orders", text: "took 3\u001b[2J", fields: { id: 7 } });
  expect(devLine("n2", said, "error")).toBe('orders on n2: took 3\uFFFD[2J {"id":7}');
});

test("what is no log line is shown as it is: it is for people", () => {
  expect(devLine("n1", "aether node n1 ready api=http://127.0.0.1:7201", "error")).toBe(
    "n1 | aether node n1 ready api=http://127.0.0.1:7201",
  );
});
