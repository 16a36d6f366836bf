// Owns: the service beside Aether's agents: the same steps, in Restate. It is not a dependency: rivals.ts installs it
// where this program runs. It ends when its standard input does.
import { createServer, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";

interface Context {
  run<T>(name: string, action: () => T): Promise<T>;
}

interface Input {
  readonly steps: number;
}

interface Restate {
  service(definition: {
    readonly name: string;
    readonly handlers: Readonly<Record<string, (context: Context, input: Input) => Promise<unknown>>>;
  }): unknown;
  createEndpointHandler(options: { readonly services: readonly unknown[] }):
    (request: Http2ServerRequest, response: Http2ServerResponse) => void;
}

interface Resolvers {
  withResolvers?: () => unknown;
}

// Its calls hang for ever in Node.js 20, which does not have it.
(Promise as Resolvers).withResolvers ??= () => {
  let settle: readonly unknown[] = [];
  const promise = new Promise((...both) => (settle = both));
  return { promise, resolve: settle[0], reject: settle[1] };
};
// By a variable: the compiler has nothing of that name.
const name: string = "@restatedev/restate-sdk";
const restate = (await import(name)) as Restate;

const steps = restate.service({
  name: "steps",
  handlers: {
    run: async (context, { steps: count }) => {
      let sum = 0;
      for (let at = 1; at <= count; at++) sum += await context.run(`step ${at}`, () => at);
      return { sum };
    },
  },
});

const server = createServer(restate.createEndpointHandler({ services: [steps] }));
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
process.stdin.on("end", () => process.exit(0)).resume();
