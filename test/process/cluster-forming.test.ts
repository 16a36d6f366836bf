// How processes become one cluster, and what they say until they are.
import { expect, test } from "vitest";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";

test("two of three first voters are not enough and say whom they wait for; the third makes all ready", async () => {
  const fleet = await NodeFleet.open();
  const [first, second] = [await fleet.launch("n1"), await fleet.launch("n2")];
  for (const name of ["n1", "n2"]) {
    await eventually(`${name} says why it is not ready`, async () => {
      const { status, body } = await ask(`${fleet.api(name)}/readyz`);
      expect(status).toBe(503);
      expect(body).toMatchObject({ ready: false, reason: expect.stringMatching(/n3/) as string });
      return true;
    });
    const refused = await ask(`${fleet.api(name)}/v1/kv/data/a`, {
      method: "PUT", body: 1, headers: { "x-deadline-ms": "300" },
    });
    expect(refused.status).toBe(503);
    expect(refused.body).toMatchObject({ error: { outcome: "not-applied" } });
    expect(await ask(`${fleet.api(name)}/livez`)).toMatchObject({ status: 200 });
  }
  expect([...first.stdout, ...second.stdout]).toEqual([]);
  await fleet.start("n3");
  await Promise.all([first.ready(), second.ready()]);
  const { body } = await ask(`${fleet.api("n1")}/v1/kv/data/a`, { method: "PUT", body: 1 });
  expect(body).toHaveProperty("revision");
  await eventually("all nodes are on duty, with one leader", async () => {
    const views = await Promise.all(fleet.apis.map((api) => ask(`${api}/v1/cluster`)));
    for (const view of views) {
      expect(view.body).toMatchObject({
        cluster: "test",
        nodes: ["n1", "n2", "n3"].map((id) => ({ id, role: "voter", status: "on-duty" })),
        leader: { node: expect.any(String) as string },
        quorum: { need: 2, have: 3 },
      });
    }
    return true;
  });
});

test("a time limit that is another one on one node is named by every node until it is the same", async () => {
  const fleet = await NodeFleet.open();
  const started = [
    await fleet.launch("n1"),
    await fleet.launch("n2", { deployment: { loadingMsMax: 60_000 } }),
    await fleet.launch("n3"),
  ];
  await Promise.all(started.map((node) => node.ready()));
  const warningOf = async (name: string): Promise<string | undefined> =>
    (await fleet.command(name, "cluster", "status")).stdout.find((line) => line.startsWith("warning: deployment"));
  for (const name of ["n1", "n2"]) {
    await eventually(`${name} says so`, async () => {
      const expected = "deployment.loadingMsMax is 120000 on n1, n3 and 60000 on n2: make it equal on all nodes";
      expect(await warningOf(name)).toBe(`warning: ${expected}`);
      return true;
    });
  }
  const logged = (name: string) => fleet.process(name).logged("node.settings-differ");
  const setting = "deployment.loadingMsMax";
  expect(logged("n1")).toEqual([expect.objectContaining({ setting, here: 120_000, peer: "n2", there: 60_000 })]);
  expect(logged("n2")).toHaveLength(2);
  await fleet.process("n2").stop("SIGTERM");
  await fleet.start("n2");
  await eventually("nobody says so", async () => (await warningOf("n1")) === undefined || undefined);
});

test("a formed cluster goes on with two of three, and one alone says that it sees no majority", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  await fleet.kill("n3");
  expect(await ask(`${fleet.api("n1")}/v1/kv/data/a`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
  await fleet.kill("n2");
  await eventually("n1 is not ready any more", async () => {
    const { status, body } = await ask(`${fleet.api("n1")}/readyz`);
    expect(body).toMatchObject({ ready: false, reason: expect.any(String) as string });
    return status === 503 || undefined;
  });
  const write = await ask(`${fleet.api("n1")}/v1/kv/data/b`, {
    method: "PUT", body: 1, headers: { "x-deadline-ms": "300" },
  });
  expect([503, 504]).toContain(write.status);
  const read = await ask(`${fleet.api("n1")}/v1/kv/data/a`, { headers: { "x-deadline-ms": "300" } });
  expect([503, 504]).toContain(read.status);
  const local = await ask(`${fleet.api("n1")}/v1/kv/data/a?consistency=local`);
  expect(local).toMatchObject({ status: 200, body: { value: 1 } });
  await fleet.start("n2");
  await eventually("n1 is ready again", async () =>
    (await ask(`${fleet.api("n1")}/readyz`)).status === 200 || undefined);
  expect(await ask(`${fleet.api("n1")}/v1/kv/data/c`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
});

test("a single voter is a cluster, also after kill -9", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"] });
  await fleet.startAll();
  expect(await ask(`${fleet.api("n1")}/v1/kv/data/a`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
  await fleet.kill("n1");
  await fleet.start("n1");
  expect(await ask(`${fleet.api("n1")}/v1/kv/data/a`)).toMatchObject({ status: 200, body: { value: 1 } });
});

test("a node of another cluster is not let in: both sides say why, and the cluster goes on", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  await fleet.kill("n3");
  const stranger = await fleet.launch("n3", { cluster: "other", dataDir: `${fleet.dataDir("n3")}-other` });
  await eventually("n1 and the stranger have said it", () => {
    const [refusal] = stranger.logged("net.refused");
    expect(refusal?.["reason"]).toMatch(/"other".*"test"/);
    const said = [...fleet.process("n1").logged("net.refused"), ...fleet.process("n1").logged("net.refused-by-peer")];
    expect(said.at(-1)?.["reason"]).toMatch(/"other"/);
    return true;
  });
  expect(await ask(`${fleet.api("n3")}/readyz`)).toMatchObject({ status: 503 });
  expect(await ask(`${fleet.api("n1")}/v1/kv/data/a`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
  expect(await stranger.stop("SIGTERM")).toEqual({ code: 0, signal: null });
  await fleet.start("n3");
});
