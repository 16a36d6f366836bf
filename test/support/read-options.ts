// Owns: the options of our own programs: with `--help`, and for what is no option, they say how they are used.
import { parseArgs, type ParseArgsConfig } from "node:util";

type Options = NonNullable<ParseArgsConfig["options"]>;
type Values<O extends Options> = ReturnType<typeof parseArgs<{ readonly options: O }>>["values"];

/** Ends the process with the usage when that is asked for, or when the options are not ours. */
export function readOptions<const O extends Options>(usage: string, options: O): Values<O> {
  if (process.argv.includes("--help")) {
    console.log(usage);
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
    process.exit(2);
  }
}
