// Owns: the entry of every worker thread: it ties one slice to its node. Errors that nobody catches end this thread
// and only this thread.
import { currentThread } from "./worker-thread-adapter.ts";
import { WorkerRuntime } from "./worker-runtime.ts";

const thread = currentThread();
const runtime = new WorkerRuntime(thread.boot, thread);
thread.onMessages((messages) => runtime.receive(messages));
await runtime.load();
