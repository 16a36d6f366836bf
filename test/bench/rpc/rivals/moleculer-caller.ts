// Owns: the node that calls: the load is in its own process, as with Aether it is in a slice of its node.
import { createBroker } from "./moleculer.ts";
import { answer, readTask, runLoops } from "./loops.ts";

const { loops, text, urls } = readTask();
const broker = createBroker("caller", urls);
await broker.start();
await broker.waitForServices(["far"]);
answer(await runLoops(loops, () => broker.call("far.echo", { text })));
await broker.stop();
process.exit(0);
