import { readFile } from "node:fs/promises";
import { Agent, request } from "undici";
import { z } from "zod";
import { clusterFromCommandLine } from "#clusters/registry.ts";
import type { StepResult } from "#diagnose/step-runner.ts";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import { systemClock } from "#lib/clock.ts";
import { loadQueries } from "#prometheus/catalogue.ts";
import { createLogger } from "#telemetry/logger.ts";
import { readCommandLine } from "./arguments.ts";
import { createClusterDiagnosis } from "#app/cluster-diagnosis.ts";
import { configuredCollector } from "#app/storage.ts";
import { clusterDefaults } from "#app/app.ts";
import { invalid, loadConfig, type Environment } from "#config.ts";

const USAGE = `Usage: npm run diagnose -- ID [--url URL] [--token-file FILE]
       npm run diagnose -- --kubeconfig FILE [--context NAME]
       npm run diagnose -- --storage [--url URL] [--token-file FILE]

Walks every step that a collection takes and says of each whether it works, and what to do. Exit code 1 when a step failed.

  ID                  a cluster of the running bridge, which is asked over its HTTP API (scope admin)
  --kubeconfig FILE   without a running bridge: from here, with the same environment variables
  --context NAME      with --kubeconfig: the context to use (default: its current-context)
  --storage           ask the running query role about its ClickHouse (scope read)
  --url URL           default: http://HOST:PORT of the same environment variables
  --token-file FILE   a file that holds the token; default: the variable BUDCLUSTER_TOKEN
  --json              print the answer as it is
`;

export interface CommandContext {
  environment: Environment;
  /** Standard output. */
  out: (text: string) => void;
}

/** The part of both diagnoses that is printed. */
interface Printed {
  title: string;
  status: string;
  duration_ms: number;
  steps: Pick<StepResult, "title" | "status" | "duration_ms" | "code" | "message" | "hint">[];
}

const answerSchema = z.looseObject({
  cluster_id: z.string().optional(),
  cluster_name: z.string().optional(),
  database: z.string().optional(),
  status: z.string(),
  duration_ms: z.number(),
  steps: z.array(
    z.looseObject({
      title: z.string(),
      status: z.enum(["passed", "warning", "failed", "skipped"]),
      duration_ms: z.number(),
      code: z.string().optional(),
      message: z.string(),
      hint: z.string().optional(),
    }),
  ),
});
const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().default("") }),
});

type Answer = z.infer<typeof answerSchema>;
type Outcome = { answer: Answer } | z.infer<typeof errorSchema>;

/** `npm run diagnose`. Gives the exit code; throws config_invalid for wrong arguments. */
export async function runDiagnoseCommand(argv: string[], context: CommandContext): Promise<number> {
  const { values, positionals } = readArguments(argv);
  if (values.help) {
    context.out(USAGE);
    return 0;
  }
  const [id, ...rest] = positionals;
  const ways = [id, values.kubeconfig, values.storage].filter((way) => way !== undefined);
  if (ways.length !== 1 || rest.length > 0) {
    throw invalid(["give the cluster's id, or --kubeconfig FILE, or --storage: see --help"]);
  }
  const outcome =
    values.kubeconfig === undefined
      ? await askBridge(id, values, context.environment)
      : await diagnoseFromHere(values.kubeconfig, values.context, context.environment);
  if ("error" in outcome) {
    const { code, message, hint } = outcome.error;
    context.out(`${code}: ${plain(message)}\n  ${plain(hint)}\n`);
    return 1;
  }
  const { answer } = outcome;
  context.out(values.json ? `${JSON.stringify(answer, null, 2)}\n` : toText(answer));
  return answer.status === "failed" ? 1 : 0;
}

function readArguments(argv: string[]) {
  return readCommandLine({
    args: argv,
    allowPositionals: true,
    options: {
      kubeconfig: { type: "string" },
      context: { type: "string" },
      storage: { type: "boolean" },
      url: { type: "string" },
      "token-file": { type: "string" },
      json: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
}

interface BridgeOptions {
  url?: string | undefined;
  "token-file"?: string | undefined;
}

/** Of the running program: its state is locked by it, and only it knows the clusters of the API. */
async function askBridge(
  id: string | undefined,
  options: BridgeOptions,
  environment: Environment,
): Promise<Outcome> {
  const base = options.url ?? defaultUrl(environment);
  if (!/^https?:$/.test(URL.parse(base)?.protocol ?? "")) throw invalid(["--url: must be an http(s) URL"]);
  const token = await readToken(options["token-file"], environment);
  const path = id === undefined ? "/diagnose" : `/clusters/${encodeURIComponent(id)}/diagnose`;
  // A diagnosis takes as long as the bridge lets it.
  const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  try {
    const { body } = await request(`${base.replace(/\/+$/, "")}${path}`, {
      method: id === undefined ? "GET" : "POST",
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      dispatcher,
    });
    const json = await body.json();
    const answer = answerSchema.safeParse(json);
    if (answer.success) return { answer: answer.data };
    const refusal = errorSchema.safeParse(json);
    if (refusal.success) return refusal.data;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "no answer";
    const hint = "Name the running bridge with --url, or diagnose without one by --kubeconfig FILE.";
    return {
      error: { code: "request_failed", message: `nothing of ours answers at ${base} (${code})`, hint },
    };
  } finally {
    await dispatcher.destroy();
  }
  return {
    error: { code: "request_failed", message: `what answers at ${base} is not the bridge`, hint: "" },
  };
}

function defaultUrl(environment: Environment): string {
  const { HOST, PORT } = loadConfig({ HOST: environment["HOST"], PORT: environment["PORT"] });
  const host = HOST === "0.0.0.0" || HOST === "::" ? "127.0.0.1" : HOST;
  return `http://${host.includes(":") ? `[${host}]` : host}:${PORT}`;
}

async function readToken(file: string | undefined, environment: Environment): Promise<string | undefined> {
  if (file === undefined) return environment["BUDCLUSTER_TOKEN"] || undefined;
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error) {
    throw new BridgeError("config_invalid", `--token-file: ${file} can't be read`, { cause: error });
  }
}

async function diagnoseFromHere(
  kubeconfigPath: string,
  context: string | undefined,
  environment: Environment,
): Promise<Outcome> {
  const config = loadConfig({ ...environment, CLUSTERS_FILE: undefined }, { hasKubeconfig: true });
  // The role all-in-one has no Collector but itself.
  const hasCollector = config.ROLE !== "all-in-one" || Boolean(environment["OTEL_COLLECTOR_ENDPOINT"]);
  try {
    const diagnosis = createClusterDiagnosis(config, {
      clock: systemClock,
      logger: createLogger({ level: "error", destination: process.stderr }),
      keyring: undefined,
      guardOf: () => undefined,
      queries: await loadQueries(config.QUERIES_FILE, config.CATALOGUE),
      signerOf: () => () => Promise.reject(new BridgeError("internal", "a kubeconfig has no AWS keys")),
      ...(hasCollector ? { collector: configuredCollector(config) } : {}),
    });
    try {
      const cluster = await clusterFromCommandLine({
        kubeconfigPath,
        defaults: clusterDefaults(config),
        ...(context === undefined ? {} : { context }),
      });
      return { answer: answerSchema.parse(await diagnosis.diagnose(cluster, new AbortController().signal)) };
    } finally {
      await diagnosis.close();
    }
  } catch (thrown) {
    const { code, message, hint } = toBridgeError(thrown);
    return { error: { code, message, hint } };
  }
}

const SYMBOLS: Record<StepResult["status"], string> = {
  passed: "✓",
  warning: "!",
  failed: "✗",
  skipped: "-",
};

function toText(answer: Answer): string {
  const { cluster_id: id, cluster_name: name, database } = answer;
  const what =
    id === undefined
      ? `ClickHouse, database ${database ?? ""}`
      : `Cluster ${id}${name === undefined || name === id ? "" : ` (${name})`}`;
  return toTable({ ...answer, title: what } as Printed);
}

/** One line for each step; below those that failed or warn, what to do. */
function toTable({ title, status, duration_ms: ms, steps }: Printed): string {
  const titleWidth = Math.max(...steps.map((step) => step.title.length));
  const lines = steps.flatMap((step) => {
    const took = step.status === "skipped" ? "" : `${step.duration_ms} ms`;
    const head = `  ${SYMBOLS[step.status]} ${step.title.padEnd(titleWidth)}  ${took.padStart(9)}  ${plain(step.message)}`;
    if (step.hint === undefined) return [head];
    return [head, `      ${step.code === undefined ? "" : `${step.code}: `}${plain(step.hint)}`];
  });
  return `${plain(title)}: ${status}, ${(ms / 1000).toFixed(1)} s\n\n${lines.join("\n")}\n`;
}

/** Text from a remote side must not control the terminal. */
function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}]+/gu, " ");
}
