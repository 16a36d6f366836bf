// Real worker threads whose slices start processes: none of them outlives its worker, however that ends, and no other
// process is ever sent a signal.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/node-fleet.ts";
import { isRunning } from "../support/running-process.ts";
import { bundleOf, NEVER, openFixture, runBundle, type Fixture } from "../unit/slices-runtime/runtime-fixture.ts";

const HEAD = "import { spawn } from 'node:child_process';";
/** Ends neither when its input does nor when it is asked to. */
const STUBBORN = "process.on('SIGTERM', () => {}); process.stdin.on('end', () => {}); setInterval(() => {}, 1e6);";
const START = `const child = spawn(process.execPath, ['-e', process.env.CODE], { stdio: 'pipe' });
  await new Promise((resolve) => child.stdout.once('data', resolve));`;
const POLITE = "setInterval(() => {}, 1e6); console.log('up')";

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function pidFrom(fixture: Fixture, instance: string, input: unknown = 1): Promise<number> {
  const reply = await fixture.store.invoke({ instance, method: "run", input, timeoutMs: 20_000 });
  expect(reply).toMatchObject({ kind: "ok" });
  return Number(reply.kind === "ok" ? reply.output : 0);
}

async function startOne(fixture: Fixture, code: string): Promise<{ readonly key: string; readonly pid: number }> {
  const source = runBundle(`async () => { ${START} return child.pid; }`, HEAD);
  const { key } = await fixture.run(source, { variables: { CODE: code } });
  const pid = await pidFrom(fixture, key);
  expect(isRunning(pid)).toBe(true);
  return { key, pid };
}

describe("a process that a slice has started", () => {
  test("is asked to end when the slice is unloaded, and waited for", async () => {
    await using fixture = await openFixture();
    const { key, pid } = await startOne(fixture, POLITE);
    await fixture.store.deactivate(key, NEVER);
    await fixture.store.unload(key);
    expect(isThere(pid)).toBe(false);
  });

  test("is ended when it does not listen", async () => {
    await using fixture = await openFixture();
    const { key, pid } = await startOne(fixture, `${STUBBORN} console.log('up')`);
    await fixture.store.unload(key);
    await eventually("the process has ended", () => !isRunning(pid) || undefined);
  });

  test.each([
    ["by a handler that loops", "for (;;);"],
    ["by itself", "process.exit(3);"],
    ["by an error", "setTimeout(() => { throw new Error('at fault'); }); await new Promise(() => {});"],
  ])("is ended when its worker is lost %s", async (_how, fault) => {
    await using fixture = await openFixture({ config: { stallMsMax: 1_000 } });
    const handler = `async (input) => { if (input === 2) { ${fault} } ${START} return child.pid; }`;
    const spec = await fixture.run(runBundle(handler, HEAD), { variables: { CODE: `${STUBBORN} console.log('up')` } });
    const pid = await pidFrom(fixture, spec.key);
    void fixture.store.invoke({ instance: spec.key, method: "run", input: 2, timeoutMs: 20_000 });
    await eventually("the instance is lost", () => fixture.lost[0]);
    await eventually("the process has ended", () => !isRunning(pid) || undefined);
  });

  test("is ended when the worker loops right after starting it", async () => {
    await using fixture = await openFixture({ config: { stallMsMax: 1_000 } });
    const rest = `methods: {}, start: () => { setTimeout(() => {
      const { pid } = spawn(process.execPath, ['-e', process.env.CODE], { stdio: 'ignore' });
      writeFileSync(process.env.FILE, String(pid));
      for (;;);
    }, 5); }`;
    const file = `${fixture.directory}/pid`;
    const source = bundleOf("demo", "", rest, `${HEAD} import { writeFileSync } from 'node:fs';`);
    await fixture.run(source, { variables: { CODE: STUBBORN, FILE: file } });
    await eventually("the instance is lost", () => fixture.lost[0]);
    const pid = Number(readFileSync(file, "utf8"));
    await eventually("the process has ended", () => !isRunning(pid) || undefined);
  });

  test("lives on if it is detached", async () => {
    await using fixture = await openFixture();
    const options = "{ detached: true, stdio: 'ignore' }";
    const started = `spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], ${options})`;
    const { key } = await fixture.run(runBundle(`() => ${started}.pid`, HEAD));
    const pid = await pidFrom(fixture, key);
    await fixture.store.unload(key);
    expect(isRunning(pid)).toBe(true);
    process.kill(pid, "SIGKILL");
  });
});

test("a worker that names a process of somebody else ends nobody", async () => {
  await using fixture = await openFixture();
  // A child of a child: not one of the node's process.
  const parent = spawn(process.execPath, [
    "-e", "console.log(require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)']).pid)",
  ]);
  const other = Number(await new Promise<Buffer>((resolve) => parent.stdout.once("data", resolve)));
  const forge = `import { MessagePort, parentPort } from 'node:worker_threads';
    const forge = (value) => MessagePort.prototype.postMessage.call(parentPort, value);
    const post = (pid) => forge([{ kind: 'child-process', pid, state: 'started' }]);`;
  const { key } = await fixture.run(runBundle("(pid) => { post(pid); post(-1); post('x'); return 1; }", forge));
  await pidFrom(fixture, key, other);
  await fixture.store.unload(key);
  expect(isRunning(other)).toBe(true);
  process.kill(other, "SIGKILL");
  parent.kill("SIGKILL");
});
