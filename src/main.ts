import { runKeysCommand } from "#commands/keys.ts";
import { clusterFromCommandLine } from "#clusters/registry.ts";
import { BridgeError } from "#errors/error.ts";
import { systemClock } from "#lib/clock.ts";
import { collectGarbage } from "#lib/collect-garbage.ts";
import { onEndSignal } from "#lib/end-signals.ts";
import { createLogger } from "#telemetry/logger.ts";
import { invalidArguments, readCommandLine } from "#commands/arguments.ts";
import { clusterDefaults, createApp, SERVICE, type Overrides, type RunningApp } from "#app/app.ts";
import { invalid, loadConfig, type Config } from "./config.ts";
import { runDiagnoseCommand } from "#commands/diagnose.ts";
import { runKubeconfigCommand, type KubeconfigCommandContext } from "#commands/kubeconfig.ts";
import { runMigrateCommand } from "#commands/migrate.ts";
import { showRounds } from "#commands/round-table.ts";
import { toStartError } from "#app/start-error.ts";

const USAGE = `Usage: npm start -- [--kubeconfig FILE [--context NAME]]
       npm run migrate -- [status | --dry-run]
       npm run demo
       npm run keys -- --help
       npm run diagnose -- --help
       npm run kubeconfig -- --help

Configuration is read from environment variables (.env.example lists them); ROLE is all-in-one, bridge, query or migrate.

  --kubeconfig FILE   collect from the one cluster of this kubeconfig, read as kubectl reads it
  --context NAME      with --kubeconfig: the context to use (default: its current-context)
  migrate             as ROLE=migrate: bring ClickHouse's tables up to date
  migrate status      say what is applied and what is not; exit code 1 when something is to be done
  migrate --dry-run   say what would be done, and change nothing
  keys                makes, rotates and checks the keys of CREDENTIALS_KEYS_DIR, and seals kubeconfigs with them
  diagnose            walks every step of a collection and says of each whether it works, and what to do
  kubeconfig          makes a ServiceAccount with the least rights in a cluster, and prints the kubeconfig to register
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
  "credentials_keys_invalid",
  "kubeconfig_invalid",
  "kubeconfig_refused",
  "storage_layout_unknown",
  "storage_version_unsupported",
  "storage_damaged",
  "file_descriptors_exhausted",
  "state_damaged",
]);

interface Arguments {
  command: "start" | "demo" | "help" | "version" | "migrate" | "migrate status" | "migrate plan";
  kubeconfig?: string;
  context?: string;
}

function readArguments(argv: string[]): Arguments {
  const { values, positionals } = parseCommandLine(argv);
  if (values.help) return { command: "help" };
  if (values.version) return { command: "version" };
  const command = positionals.length === 0 ? "start" : positionals.join(" ");
  if (values["dry-run"] && command !== "migrate")
    throw invalidArguments("--dry-run: belongs to the command migrate");
  if (command === "migrate" || command === "migrate status") {
    return { command: values["dry-run"] ? "migrate plan" : command };
  }
  if (command !== "start" && command !== "demo") {
    throw invalidArguments(`unknown command ${JSON.stringify(command)}: see --help`);
  }
  if (values.context !== undefined && values.kubeconfig === undefined) {
    throw invalidArguments("--context: needs --kubeconfig FILE");
  }
  return {
    command,
    ...(values.kubeconfig === undefined ? {} : { kubeconfig: values.kubeconfig }),
    ...(values.context === undefined ? {} : { context: values.context }),
  };
}

function parseCommandLine(argv: string[]) {
  return readCommandLine({
    args: argv,
    allowPositionals: true,
    options: {
      kubeconfig: { type: "string" },
      context: { type: "string" },
      "dry-run": { type: "boolean" },
      help: { type: "boolean", short: "h" },
      version: { type: "boolean" },
    },
  });
}

const out = (text: string): void => void process.stdout.write(text);

/** Resolves at the first signal that asks to end; a repeat after two seconds ends the process at once. */
function ended(): Promise<NodeJS.Signals> {
  // A terminal that was closed takes no words any more, which must not keep the parts from ending.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  return onEndSignal({ process, clock: systemClock, exit: (code) => process.exit(code) });
}

async function run(args: Arguments): Promise<number> {
  const config = loadConfig(process.env, { hasKubeconfig: args.kubeconfig !== undefined });
  const secrets = [
    config.APP_API_TOKEN,
    config.DAPR_API_TOKEN,
    config.CLICKHOUSE_PASSWORD,
    ...Object.values(config.OTLP_HEADERS),
  ];
  // Who starts it by hand for one cluster reads a table, and of the log what went wrong.
  const isByHand = args.kubeconfig !== undefined && config.ROLE === "all-in-one";
  if (isByHand && !process.env["LOG_LEVEL"]) config.LOG_LEVEL = "warn";
  const logger = createLogger({
    level: config.LOG_LEVEL,
    secrets: secrets.filter((secret) => secret !== undefined),
  });
  process.on("unhandledRejection", (reason) => logger.error({ err: reason }, "unhandled promise rejection"));
  process.on("uncaughtException", (error) => {
    logger.fatal({ err: error }, "uncaught exception");
    process.exit(70);
  });
  const signalled = ended();
  if (config.ROLE === "migrate" || args.command.startsWith("migrate")) {
    return await runMigrateCommand(args.command, { config, logger, ended: signalled, out });
  }
  const app = createApp(config, logger, await overridesOf(config, args));
  // A start that waits for somebody is given up at the first signal.
  const running = await Promise.race([app.start(), signalled.then(() => undefined)]);
  collectGarbage();
  if (isByHand && running) void showUntil(signalled, running, config);
  const signal = await signalled;
  logger.info({ signal }, "shutting down");
  systemClock.after(STOP_MS_MAX, () => {
    logger.error("shutdown took too long; what was acknowledged is kept");
    process.exit(1);
  });
  await app.stop();
  logger.info("shutdown complete");
  return 0;
}

async function showUntil(ended: Promise<unknown>, running: RunningApp, config: Config): Promise<void> {
  const finished = new AbortController();
  void ended.then(() => finished.abort());
  const footer = `A round every ${config.COLLECTION_INTERVAL / 1000} s, kept in ${config.DATA_DIR}; Ctrl-C ends.`;
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  await showRounds(running, { signal: finished.signal, footer, say });
}

async function overridesOf(config: Config, args: Arguments): Promise<Overrides> {
  if (args.kubeconfig === undefined) return {};
  const cluster = await clusterFromCommandLine({
    kubeconfigPath: args.kubeconfig,
    defaults: clusterDefaults(config),
    ...(args.context === undefined ? {} : { context: args.context }),
  });
  return { clusters: [cluster] };
}

/** Loaded only when it is asked for: an image without the simulator's packages has no demo. */
async function demo(): Promise<void> {
  const signalled = ended();
  const { runDemo } = await import("#simulator/demo.ts").catch((error: unknown) => {
    throw new BridgeError("engine_unavailable", "the demo's packages are not installed", {
      cause: error,
      hint: "Run `npm ci` in a clone of the project; the production image has neither simulator nor ClickHouse.",
    });
  });
  await runDemo(signalled, process.env);
}

/** `npm run keys`: needs no configuration but the place of the keys. */
async function keys(argv: string[]): Promise<number> {
  return await runKeysCommand(argv, {
    clock: systemClock,
    keysDirectory: process.env["CREDENTIALS_KEYS_DIR"] || undefined,
    out,
    tell: (text) => void process.stderr.write(text),
    readInput: readStandardInput,
  });
}

async function readStandardInput(bytesMax: number): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of process.stdin as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > bytesMax) throw invalid([`standard input has more than ${bytesMax} bytes`]);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

/** What the commands that are no program of their own need of the process. */
function context(): KubeconfigCommandContext {
  return {
    environment: process.env,
    out,
    tell: (text) => void process.stderr.write(text),
  };
}

/** The commands that are no start of the program. */
const TOOLS = new Set(["keys", "diagnose", "kubeconfig", "migrate"]);

function report(error: BridgeError, command: string | undefined): number {
  const problems = error.details?.["problems"];
  const lines = Array.isArray(problems)
    ? problems.map((problem) => `  ${String(problem)}`)
    : [`  ${error.message}`];
  // Of a defect nothing else would tell where it is: there may be no logger yet.
  const cause = error.code === "internal" && error.cause instanceof Error ? `${error.cause.stack}\n` : "";
  const failed = TOOLS.has(command ?? "") ? `${command} failed` : `${SERVICE.name}: startup failed`;
  process.stderr.write(`${failed} (${error.code}):\n${lines.join("\n")}\n  ${error.hint}\n${cause}`);
  return CONFIG_CODES.has(error.code) ? EXIT_CONFIG : 1;
}

async function main(): Promise<number> {
  const [command, ...rest] = process.argv.slice(2);
  try {
    if (command === "keys") return await keys(rest);
    if (command === "diagnose") return await runDiagnoseCommand(rest, context());
    if (command === "kubeconfig") return await runKubeconfigCommand(rest, context());
    const args = readArguments(process.argv.slice(2));
    if (args.command === "help") process.stdout.write(USAGE);
    else if (args.command === "version") process.stdout.write(`${SERVICE.name} ${SERVICE.version}\n`);
    else if (args.command === "demo") await demo();
    else return await run(args);
    return 0;
  } catch (thrown) {
    return report(toStartError(thrown), command);
  }
}

process.exit(await main());
