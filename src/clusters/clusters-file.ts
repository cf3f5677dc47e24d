import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { BridgeError } from "#errors.ts";
import { createSecret } from "#lib/secret.ts";
import type { ClearCredentials, Cluster, PrometheusTarget } from "./cluster.ts";
import { readKubeconfigFile, toKubeConfig } from "./kube-config.ts";
import { nearMiss } from "#lib/near-miss.ts";
import { readCertificates } from "./pem.ts";
import { isYamlMap, readYaml } from "./yaml.ts";

/** What a cluster gets where the file says nothing. */
export interface ClusterDefaults {
  prometheus: PrometheusTarget;
  validateCerts: boolean;
}

const LIMITS = { bytesMax: 16 * 1024 * 1024, structureMax: 500_000 };
const KUBECONFIG_BYTES_MAX = 256 * 1024;
const CLUSTERS_MAX = 5000;
const PROBLEMS_MAX = 200;
const PROBLEMS_IN_MESSAGE_MAX = 20;

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const id = z
  .string("must be a text")
  .regex(/^[A-Za-z0-9._-]{1,64}$/, "must be 1 to 64 characters of A-Z a-z 0-9 . _ -");
const label = (max: number) =>
  z
    .string("must be a text")
    .min(1, "must not be empty")
    .max(max, `must have at most ${max} characters`)
    .regex(/^\P{Cc}*$/u, "must not have control characters");
const flag = z.boolean("must be true or false");
const dnsLabel = z
  .string("must be a text")
  .regex(DNS_LABEL, "must be a Kubernetes name: a-z, 0-9 and -, at most 63 characters");

const prometheusSchema = z.strictObject(
  {
    namespace: dnsLabel.optional(),
    service: dnsLabel.optional(),
    port: z
      .int("must be a whole number")
      .min(1, "must be from 1 to 65535")
      .max(65_535, "must be from 1 to 65535")
      .optional(),
    scheme: z.enum(["http", "https"], "must be http or https").optional(),
    path_prefix: z
      .string("must be a text")
      .max(256, "must have at most 256 characters")
      .regex(/^\/?$|^(\/[A-Za-z0-9._~-]+)+\/?$/, "must be a path such as /prometheus")
      .optional(),
    ca: z.string("must be a PEM certificate or the path of one").min(1, "must not be empty").optional(),
  },
  "must be a mapping",
);

const clusterSchema = z.strictObject(
  {
    id,
    name: label(256).optional(),
    platform: label(64).optional(),
    kubeconfig: z.union(
      [z.string().min(1), z.record(z.string(), z.unknown())],
      "must be a path or a kubeconfig",
    ),
    context: label(1024).optional(),
    trusted: flag.optional(),
    validate_certs: flag.optional(),
    enabled: flag.optional(),
    prometheus: prometheusSchema.optional(),
  },
  "must be a mapping",
);

type ClusterEntry = z.infer<typeof clusterSchema>;

const KNOWN_KEYS: Readonly<Record<string, readonly string[]>> = {
  "": Object.keys(clusterSchema.shape),
  prometheus: Object.keys(prometheusSchema.shape),
};

/**
 * Reads CLUSTERS_FILE: YAML with a list `clusters`, each with id, kubeconfig (a path relative to the file, or the text or mapping
 * itself) and optionally name (default: the id), platform (default "kubernetes"), context, trusted, validate_certs, enabled and
 * prometheus {namespace, service, port, scheme, path_prefix, ca (PEM or path)}.
 *
 * Every kubeconfig is read and checked now; one that is not `trusted` goes through the allow-list parser. Throws BridgeError
 * `clusters_file_invalid` with all problems of the file in details.problems (string[]), each naming cluster and field.
 */
export async function loadClustersFile(path: string, defaults: ClusterDefaults): Promise<Cluster[]> {
  const entries = await readEntries(path);
  const problems: string[] = [];
  const clusters: Cluster[] = [];
  const seen = new Map<string, number>();
  for (const [index, raw] of entries.entries()) {
    const where = placeOf(raw, index);
    const parsed = clusterSchema.safeParse(raw);
    const entryId = isYamlMap(raw) ? raw["id"] : undefined;
    if (typeof entryId === "string") {
      const first = seen.get(entryId);
      if (first !== undefined) problems.push(`${where}: id: is already used by clusters[${first}]`);
      else seen.set(entryId, index);
    }
    if (!parsed.success) {
      problems.push(
        ...parsed.error.issues.flatMap((issue) => describe(issue, raw)).map((text) => `${where}: ${text}`),
      );
      continue;
    }
    const result = await toCluster(parsed.data, dirname(resolve(path)), defaults);
    if (result.ok) clusters.push(result.cluster);
    else problems.push(...result.problems.map((text) => `${where}: ${text}`));
  }
  if (problems.length > 0) throw fileInvalid(problems);
  return clusters;
}

async function readEntries(path: string): Promise<unknown[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    const hint = "Set CLUSTERS_FILE to a YAML file with a list `clusters`.";
    throw fileInvalid([`${path} can't be read${code}`], { hint, cause: error });
  }
  const read = readYaml(text, LIMITS);
  if (!read.ok) throw fileInvalid([`${path} ${read.reason}`]);
  if (!isYamlMap(read.value)) throw fileInvalid([`${path} must be a mapping with a list \`clusters\``]);
  const unknown = Object.keys(read.value).filter((key) => key !== "clusters");
  const problems = unknown.map((key) => unknownKey("", key, ["clusters"]));
  const { clusters } = read.value;
  if (!Array.isArray(clusters)) problems.push("clusters: must be a list");
  else if (clusters.length > CLUSTERS_MAX)
    problems.push(`clusters: must have at most ${CLUSTERS_MAX} entries`);
  if (problems.length > 0) throw fileInvalid(problems);
  return clusters as unknown[];
}

type ClusterResult = { ok: true; cluster: Cluster } | { ok: false; problems: string[] };

async function toCluster(
  entry: ClusterEntry,
  folder: string,
  defaults: ClusterDefaults,
): Promise<ClusterResult> {
  const problems: string[] = [];
  const validateCerts = entry.validate_certs ?? defaults.validateCerts;
  const credentials = await attempt(problems, "kubeconfig", async () => {
    const found = await toCredentials(entry, folder);
    await toKubeConfig(found, validateCerts);
    return found;
  });
  const prometheus = await attempt(problems, "prometheus.ca", () =>
    toTarget(entry.prometheus ?? {}, folder, defaults.prometheus),
  );
  if (!credentials || !prometheus) return { ok: false, problems };
  return {
    ok: true,
    cluster: {
      id: entry.id,
      name: entry.name ?? entry.id,
      platform: entry.platform ?? "kubernetes",
      enabled: entry.enabled ?? true,
      credentials,
      prometheus,
      validateCerts,
      source: "file",
      labels: {},
    },
  };
}

async function attempt<T>(problems: string[], field: string, run: () => Promise<T>): Promise<T | undefined> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof BridgeError)) throw error;
    problems.push(`${field}: ${error.message} (${error.code}). ${error.hint}`);
    return undefined;
  }
}

async function toCredentials(entry: ClusterEntry, folder: string): Promise<ClearCredentials> {
  const context = entry.context === undefined ? {} : { context: entry.context };
  const { kubeconfig } = entry;
  if (typeof kubeconfig !== "string" || isInlineText(kubeconfig)) {
    const text = typeof kubeconfig === "string" ? kubeconfig : JSON.stringify(kubeconfig);
    const kind = entry.trusted ? "trusted-inline" : "inline";
    return { kind, kubeconfig: createSecret(text), ...context };
  }
  const path = resolve(folder, kubeconfig);
  if (entry.trusted) return { kind: "trusted-file", path, ...context };
  const text = await readKubeconfigFile(path, KUBECONFIG_BYTES_MAX);
  return { kind: "inline", kubeconfig: createSecret(text), ...context };
}

/** A path has one line and does not begin like a mapping. */
function isInlineText(text: string): boolean {
  return /[\n{]/.test(text.trimEnd());
}

async function toTarget(
  entry: z.infer<typeof prometheusSchema>,
  folder: string,
  defaults: PrometheusTarget,
): Promise<PrometheusTarget> {
  const ca = entry.ca === undefined ? defaults.ca : await readCa(entry.ca, folder);
  return {
    namespace: entry.namespace ?? defaults.namespace,
    service: entry.service ?? defaults.service,
    port: entry.port ?? defaults.port,
    scheme: entry.scheme ?? defaults.scheme,
    pathPrefix: entry.path_prefix?.replace(/\/$/, "") ?? defaults.pathPrefix,
    ...(ca === undefined ? {} : { ca }),
  };
}

async function readCa(ca: string, folder: string): Promise<string> {
  let text = ca;
  if (!ca.includes("-----BEGIN")) {
    try {
      text = await readFile(resolve(folder, ca), "utf8");
    } catch (error) {
      const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
      throw new BridgeError("clusters_file_invalid", `the file can't be read${code}`);
    }
  }
  const read = readCertificates(text);
  if (!read.ok) throw new BridgeError("clusters_file_invalid", read.reason);
  return text;
}

function placeOf(raw: unknown, index: number): string {
  const entryId = isYamlMap(raw) ? raw["id"] : undefined;
  return typeof entryId === "string"
    ? `clusters[${index}] ${JSON.stringify(entryId.slice(0, 64))}`
    : `clusters[${index}]`;
}

function describe(issue: z.core.$ZodIssue, raw: unknown): string[] {
  const path = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => unknownKey(path === "" ? "" : `${path}.`, key, KNOWN_KEYS[path] ?? []));
  }
  if (path === "id" && isYamlMap(raw) && raw["id"] === undefined) return ["id: is missing"];
  if (path === "kubeconfig" && isYamlMap(raw) && raw["kubeconfig"] === undefined)
    return ["kubeconfig: is missing"];
  return [path === "" ? issue.message : `${path}: ${issue.message}${shown(raw, issue.path)}`];
}

/** The value that was given, where it is no secret and short. */
function shown(raw: unknown, path: readonly PropertyKey[]): string {
  let value = raw;
  for (const key of path) value = isYamlMap(value) ? value[String(key)] : undefined;
  if (path[0] === "kubeconfig" || path.at(-1) === "ca") return "";
  const isPlain = ["string", "number", "boolean"].includes(typeof value);
  return isPlain ? `, not ${JSON.stringify(value).slice(0, 80)}` : "";
}

function unknownKey(prefix: string, key: string, known: readonly string[]): string {
  const meant = nearMiss(key, known);
  const name = `${prefix}${key.slice(0, 64)}`;
  const remedy = meant ? `did you mean ${prefix}${meant}?` : `allowed are ${known.join(", ")}`;
  return `${name}: is not known; ${remedy}`;
}

function fileInvalid(problems: string[], options: { hint?: string; cause?: unknown } = {}): BridgeError {
  const some = problems.slice(0, PROBLEMS_IN_MESSAGE_MAX).join("\n  ");
  const rest = problems.length - PROBLEMS_IN_MESSAGE_MAX;
  return new BridgeError(
    "clusters_file_invalid",
    `CLUSTERS_FILE has ${problems.length === 1 ? "a problem" : `${problems.length} problems`}:\n  ${some}${
      rest > 0 ? `\n  and ${rest} more` : ""
    }`,
    { ...options, details: { problems: problems.slice(0, PROBLEMS_MAX) } },
  );
}
