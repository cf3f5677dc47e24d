import { parseArgs } from "node:util";
import { clusterFromCommandLine, createFileRegistry } from "#clusters/registry.ts";
import { BridgeError, toBridgeError } from "#errors.ts";
import { systemClock } from "#lib/clock.ts";
import { createLogger } from "#telemetry/logger.ts";
import { runMigrations } from "./app-storage.ts";
import { clusterDefaults, createApp, SERVICE, type Overrides } from "./app.ts";
import { invalid, loadConfig, type Config } from "./config.ts";

const USAGE = `Usage: npm start -- [--kubeconfig FILE [--context NAME]]
       npm run demo

Configuration is read from environment variables (.env.example lists them); ROLE is all-in-one, bridge or migrate.

  --kubeconfig FILE   collect from the one cluster of this kubeconfig, read as kubectl reads it
  --context NAME      with --kubeconfig: the context to use (default: its current-context)
  --version, --help
`;

/** sysexits.h EX_CONFIG: a supervisor need not try again. */
const EXIT_CONFIG = 78;
/** Whatever hangs, the process ends before its supervisor loses patience. */
const STOP_MS_MAX = 9500;
const CONFIG_CODES = new Set<string>([
  "config_invalid",
  "clusters_file_invalid",
  "queries_file_invalid",
  "tokens_file_invalid",
  "kubeconfig_invalid",
  "kubeconfig_refused",
]);

interface Arguments {
  command: "start" | "demo" | "help" | "version";
  kubeconfig?: string;
  context?: string;
}

function readArguments(argv: string[]): Arguments {
  const { values, positionals } = parseCommandLine(argv);
  if (values.help) return { command: "help" };
  if (values.version) return { command: "version" };
  const [command = "start", ...rest] = positionals;
  if ((command !== "start" && command !== "demo") || rest.length > 0) {
    throw invalid([`unknown command ${JSON.stringify(positionals.join(" "))}: see --help`]);
  }
  if (values.context !== undefined && values.kubeconfig === undefined) {
    throw invalid(["--context: needs --kubeconfig FILE"]);
  }
  return {
    command,
    ...(values.kubeconfig === undefined ? {} : { kubeconfig: values.kubeconfig }),
    ...(values.context === undefined ? {} : { context: values.context }),
  };
}

function parseCommandLine(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        kubeconfig: { type: "string" },
        context: { type: "string" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean" },
      },
    });
  } catch (error) {
    throw invalid([error instanceof Error ? error.message : String(error)]);
  }
}

/** Resolves at the first SIGTERM or SIGINT; a second one ends the process at once. */
function onSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const received = (signal: NodeJS.Signals): void => {
      resolve(signal);
      process.once("SIGTERM", () => process.exit(130));
      process.once("SIGINT", () => process.exit(130));
    };
    process.once("SIGTERM", received);
    process.once("SIGINT", received);
  });
}

async function run(args: Arguments): Promise<void> {
  const config = loadConfig(process.env);
  const secrets = [config.APP_API_TOKEN, config.CLICKHOUSE_PASSWORD, ...Object.values(config.OTLP_HEADERS)];
  const logger = createLogger({
    level: config.LOG_LEVEL,
    secrets: secrets.filter((secret) => secret !== undefined),
  });
  process.on("unhandledRejection", (reason) => logger.error({ err: reason }, "a promise failed unobserved"));
  process.on("uncaughtException", (error) => {
    logger.fatal({ err: error }, "an exception nobody caught");
    process.exit(70);
  });
  const ended = onSignal();
  if (config.ROLE === "migrate") {
    const interrupted = new AbortController();
    void ended.then(() => interrupted.abort(new Error("interrupted")));
    return await runMigrations(config, logger, interrupted.signal);
  }
  const app = createApp(config, logger, await overridesOf(config, args));
  await app.start();
  const signal = await ended;
  logger.info({ signal }, "ending");
  systemClock.after(STOP_MS_MAX, () => {
    logger.error("a part did not end in time; what was acknowledged is kept");
    process.exit(1);
  });
  await app.stop();
  logger.info("ended");
}

async function overridesOf(config: Config, args: Arguments): Promise<Overrides> {
  if (args.kubeconfig === undefined) return {};
  const cluster = await clusterFromCommandLine({
    kubeconfigPath: args.kubeconfig,
    defaults: clusterDefaults(config),
    ...(args.context === undefined ? {} : { context: args.context }),
  });
  return { registry: createFileRegistry([cluster]) };
}

/** Loaded only when it is asked for: an image without the simulator's packages has no demo. */
async function demo(): Promise<void> {
  const ended = onSignal();
  const { runDemo } = await import("./demo.ts").catch((error: unknown) => {
    throw new BridgeError("engine_unavailable", "the demo's packages are not installed", {
      cause: error,
      hint: "Run `npm ci` in a clone of the project; the production image has neither simulator nor ClickHouse.",
    });
  });
  await runDemo(ended, process.env);
}

function report(error: BridgeError): number {
  const problems = error.details?.["problems"];
  const lines = Array.isArray(problems)
    ? problems.map((problem) => `  ${String(problem)}`)
    : [`  ${error.message}`];
  // Of a defect nothing else would tell where it is: there may be no logger yet.
  const cause = error.code === "internal" && error.cause instanceof Error ? `${error.cause.stack}\n` : "";
  process.stderr.write(
    `${SERVICE.name} can't start (${error.code}):\n${lines.join("\n")}\n  ${error.hint}\n${cause}`,
  );
  return CONFIG_CODES.has(error.code) ? EXIT_CONFIG : 1;
}

async function main(): Promise<number> {
  try {
    const args = readArguments(process.argv.slice(2));
    if (args.command === "help") process.stdout.write(USAGE);
    else if (args.command === "version") process.stdout.write(`${SERVICE.name} ${SERVICE.version}\n`);
    else if (args.command === "demo") await demo();
    else await run(args);
    return 0;
  } catch (thrown) {
    return report(toBridgeError(thrown));
  }
}

process.exit(await main());
