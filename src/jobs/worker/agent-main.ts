// Owns: the entry of the worker threads of agents: it ties the agents of one package to their node. Errors that nobody
// catches end this thread and only this thread.
import { currentThread } from "../../slices/worker/worker-thread-adapter.ts";
import { WorkerRuntime } from "../../slices/worker/worker-runtime.ts";
import { openAgents } from "./agent-runtime.ts";

const thread = currentThread();
const runtime = new WorkerRuntime(thread.boot, thread, openAgents(thread));
thread.onMessages((messages) => runtime.receive(messages));
await runtime.load();
