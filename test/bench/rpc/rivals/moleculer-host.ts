// Owns: the node that answers. It ends when its standard input does.
import { createBroker } from "./moleculer.ts";
import { answer, readTask } from "./loops.ts";

const broker = createBroker("host", readTask().urls);
broker.createService({ name: "far", actions: { echo: (context) => context.params } });
await broker.start();
answer("ready");
process.stdin.on("end", () => void broker.stop()).resume();
