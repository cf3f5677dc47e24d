import { parseArgs, type ParseArgsConfig } from "node:util";
import { BridgeError } from "#errors/error.ts";

/** A command line as `util.parseArgs` reads it. Throws config_invalid in its words for an option that is unknown or lacks its value. */
export function readCommandLine<const T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw invalidArguments(problem);
  }
}

/** BridgeError `config_invalid` about the command line. */
export function invalidArguments(problem: string): BridgeError {
  return new BridgeError("config_invalid", `arguments: ${problem}`, {
    details: { problems: [problem] },
    hint: "--help lists the options.",
  });
}
