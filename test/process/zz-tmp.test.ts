import { cp, rename } from "node:fs/promises";
import { test } from "vitest";
import { ask, NodeFleet, eventually } from "../support/node-fleet.ts";
test("x", async () => {
    const fleet = await NodeFleet.open();
    await fleet.startAll();
    await fleet.kill("n2", "n3");
    await rename(fleet.dataDir("n2"), `${fleet.dataDir("n2")}-kept`);
    await cp(fleet.dataDir("n3"), fleet.dataDir("n2"), { recursive: true });

  for (let i = 0; i < 25; i++) {
    const t0 = Date.now();
    const node = await fleet.launch("n2");
    await eventually("complaint", () => node.complaints.length > 0 || undefined);
    const t1 = Date.now() - t0;
    await node.waitForEnd();
    console.log(t1, Date.now() - t0, Date.now() - t0 > 2000 ? node.stderr.join("\n") : "");
  }
  console.log(fleet.process("n1").stderr.slice(-5).join("\n"));
});
