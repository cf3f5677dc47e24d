import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { createSecret } from "#lib/secret.ts";
import type { Cluster, ClusterCredentials, PrometheusTarget } from "./cluster.ts";
import { flagField, idField, lineField } from "./cluster-fields.ts";
import type { Keyring } from "./envelope.ts";
import { readKubeconfigFile } from "./kubernetes-client-config.ts";
import { readCredentialFacts } from "./open-credentials.ts";
import { didYouMean, UNKNOWN_NAMES_MAX } from "#lib/near-miss.ts";
import { readCertificates } from "./pem.ts";
import { contradictionsOf, SEAL, SEAL_URL } from "./clusters-file-contradictions.ts";
import {
  prometheusCredentialFields,
  refuseContradiction,
  toPrometheusCredentials,
  type CredentialFields,
} from "./prometheus-credentials.ts";
import { givenTarget, toTarget } from "./prometheus-target.ts";
import { originOf } from "./prometheus-url.ts";
import { isYamlMap, readYaml } from "#lib/yaml.ts";

/** Settings of a cluster that its entry in the file does not give. */
export interface ClusterDefaults {
  prometheus: PrometheusTarget;
  validateCerts: boolean;
}

const LIMITS = { bytesMax: 16 * 1024 * 1024, structureMax: 500_000 };
const KUBECONFIG_BYTES_MAX = 256 * 1024;
const CLUSTERS_MAX = 5000;
const PROBLEMS_MAX = 200;
const PROBLEMS_IN_MESSAGE_MAX = 20;

const pemOrPath = (what: string) =>
  z.string(`must be ${what} in PEM or the path of one`).min(1, "must not be empty");

const prometheusSchema = z
  .strictObject(
    {
      ...givenTarget,
      ca: pemOrPath("a certificate").optional(),
      ...prometheusCredentialFields,
      client_certificate: z
        .strictObject(
          { cert: pemOrPath("a certificate"), key: pemOrPath("a private key") },
          "must be a mapping with cert and key",
        )
        .optional(),
    },
    "must be a mapping",
  )
  .superRefine(refuseContradiction);

const clusterSchema = z.strictObject(
  {
    id: idField,
    name: lineField(256).optional(),
    platform: lineField(64).optional(),
    kubeconfig: z
      .union([z.string().min(1), z.record(z.string(), z.unknown())], "must be a path or a kubeconfig")
      .optional(),
    kubeconfig_jwe: z.string("must be a text").min(1, "must not be empty").optional(),
    credentials_jwe: z.string("must be a text").min(1, "must not be empty").optional(),
    context: lineField(1024).optional(),
    trusted: flagField.optional(),
    validate_certs: flagField.optional(),
    enabled: flagField.optional(),
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
 * itself) or kubeconfig_jwe (sealed with a key of the keyring), and optionally name (default: the id), platform (default "kubernetes"),
 * context, trusted, validate_certs, enabled and prometheus {namespace, service, port, scheme, path_prefix, ca (PEM or path),
 * accept_partial, shards, and, only beside a kubeconfig in clear text, headers and bearer_token or basic_auth {username, password}}. A cluster with
 * prometheus.url has no kubeconfig, and optionally credentials_jwe or, in clear text, the same credentials and client_certificate {cert, key}.
 *
 * Every kubeconfig is read and checked now, a sealed one is opened for it and dropped; one that is not `trusted` goes through the allow-list
 * parser. Throws BridgeError `clusters_file_invalid` with all problems of the file in details.problems (string[]), each naming cluster and
 * field.
 */
export async function loadClustersFile(
  path: string,
  defaults: ClusterDefaults,
  keyring?: Keyring,
): Promise<Cluster[]> {
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
    const wrong = [
      ...(parsed.success ? [] : parsed.error.issues.flatMap((issue) => describe(issue, raw))),
      ...contradictionsOf(raw),
    ];
    problems.push(...wrong.map((text) => `${where}: ${text}`));
    if (!parsed.success || wrong.length > 0) continue;
    const result = await toCluster(parsed.data, { folder: dirname(resolve(path)), defaults, keyring });
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

interface FileContext {
  folder: string;
  defaults: ClusterDefaults;
  keyring: Keyring | undefined;
}

async function toCluster(entry: ClusterEntry, context: FileContext): Promise<ClusterResult> {
  const { folder, defaults, keyring } = context;
  const problems: string[] = [];
  const field = credentialsField(entry);
  const secrets = await attempt(problems, "prometheus.client_certificate", () => readSecrets(entry, folder));
  const credentials =
    secrets && (await attempt(problems, field, () => toCredentials(entry, secrets, folder)));
  const prometheus = await attempt(problems, "prometheus.ca", () =>
    readTarget(entry.prometheus ?? {}, folder, defaults.prometheus),
  );
  if (!credentials || !prometheus) return { ok: false, problems };
  const cluster: Cluster = {
    id: entry.id,
    name: entry.name ?? entry.id,
    platform: entry.platform ?? "kubernetes",
    enabled: entry.enabled ?? true,
    credentials,
    prometheus,
    validateCerts: entry.validate_certs ?? defaults.validateCerts,
    source: "file",
    labels: {},
  };
  const facts = await attempt(problems, field, () => readCredentialFacts(cluster, keyring));
  return facts ? { ok: true, cluster: { ...cluster, facts } } : { ok: false, problems };
}

/** What an error in the credentials is about. */
function credentialsField({ prometheus, credentials_jwe, kubeconfig_jwe }: ClusterEntry): string {
  if (credentials_jwe !== undefined) return "credentials_jwe";
  if (prometheus?.url !== undefined) return "prometheus.url";
  return kubeconfig_jwe === undefined ? "kubeconfig" : "kubeconfig_jwe";
}

async function attempt<T>(problems: string[], field: string, run: () => Promise<T>): Promise<T | undefined> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof BridgeError)) throw error;
    problems.push(`${field}: ${error.message} (${error.code}). ${HINTS[error.code] ?? error.hint}`);
    return undefined;
  }
}

/** The remedies where the credentials are a file's. */
const HINTS: { [code in ErrorCode]?: string } = {
  credentials_invalid: `Seal the cluster's kubeconfig again: ${SEAL} (with prometheus.url: ${SEAL_URL}).`,
  credentials_key_unknown: `Put the private key that it was sealed with into CREDENTIALS_KEYS_DIR, or seal the kubeconfig again: ${SEAL} (with prometheus.url: ${SEAL_URL}).`,
};

async function toCredentials(
  entry: ClusterEntry,
  secrets: CredentialFields,
  folder: string,
): Promise<ClusterCredentials> {
  const { kubeconfig, prometheus: { url } = {} } = entry;
  const jwe = entry.kubeconfig_jwe ?? entry.credentials_jwe;
  if (jwe !== undefined) return { kind: "sealed", jwe: jwe.trim() };
  const prometheus = toPrometheusCredentials(secrets);
  const rest = {
    ...(entry.context === undefined ? {} : { context: entry.context }),
    ...(prometheus ? { prometheus } : {}),
  };
  if (url !== undefined)
    return { kind: entry.trusted ? "trusted-direct" : "direct", origin: originOf(url), ...rest };
  if (typeof kubeconfig !== "string" || isInlineText(kubeconfig)) {
    const text = typeof kubeconfig === "string" ? kubeconfig : JSON.stringify(kubeconfig);
    const kind = entry.trusted ? "trusted-inline" : "inline";
    return { kind, kubeconfig: createSecret(text), ...rest };
  }
  const path = resolve(folder, kubeconfig);
  if (entry.trusted) return { kind: "trusted-file", path, ...rest };
  const text = await readKubeconfigFile(path, KUBECONFIG_BYTES_MAX);
  return { kind: "inline", kubeconfig: createSecret(text), ...rest };
}

/** A path has one line and does not begin like a mapping. */
function isInlineText(text: string): boolean {
  return /[\n{]/.test(text.trimEnd());
}

async function readTarget(
  entry: z.infer<typeof prometheusSchema>,
  folder: string,
  defaults: PrometheusTarget,
): Promise<PrometheusTarget> {
  const { ca, bearer_token: _token, basic_auth: _basic, headers: _headers, ...rest } = entry;
  const { client_certificate: _certificate, sigv4: _sigv4, ...fields } = rest;
  return toTarget({ ...fields, ...(ca === undefined ? {} : { ca: await readCa(ca, folder) }) }, defaults);
}

async function readCa(ca: string, folder: string): Promise<string> {
  const text = await readPem(ca, folder);
  const read = readCertificates(text);
  if (!read.ok) throw new BridgeError("clusters_file_invalid", read.reason);
  return text;
}

/** The credentials for Prometheus in clear text, with the files that they name. */
async function readSecrets({ prometheus = {} }: ClusterEntry, folder: string): Promise<CredentialFields> {
  const { client_certificate: given, ...rest } = prometheus;
  if (!given) return rest;
  const [cert = "", key = ""] = await Promise.all([given.cert, given.key].map((pem) => readPem(pem, folder)));
  const parsed = prometheusCredentialFields.client_certificate.safeParse({ cert, key });
  if (parsed.success) return { ...rest, client_certificate: parsed.data };
  throw new BridgeError("clusters_file_invalid", parsed.error.issues[0]?.message ?? "is wrong");
}

async function readPem(pemOrPath: string, folder: string): Promise<string> {
  if (pemOrPath.includes("-----BEGIN")) return pemOrPath;
  try {
    return await readFile(resolve(folder, pemOrPath), "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    throw new BridgeError("clusters_file_invalid", `the file can't be read${code}`);
  }
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
    const prefix = path === "" ? "" : `${path}.`;
    const named = issue.keys.slice(0, UNKNOWN_NAMES_MAX);
    const more = issue.keys.length - named.length;
    return [
      ...named.map((key) => unknownKey(prefix, key, KNOWN_KEYS[path] ?? [])),
      ...(more > 0 ? [`${more} more fields are not known`] : []),
    ];
  }
  if (path === "id" && isYamlMap(raw) && raw["id"] === undefined) return ["id: is missing"];
  return [path === "" ? issue.message : `${path}: ${issue.message}${shown(raw, issue.path)}`];
}

const SECRET_FIELDS = new Set<PropertyKey>([
  "kubeconfig",
  "kubeconfig_jwe",
  "credentials_jwe",
  "ca",
  "url",
  ...Object.keys(prometheusCredentialFields),
]);

/** The value that was given, where it is no secret and short. */
function shown(raw: unknown, path: readonly PropertyKey[]): string {
  let value = raw;
  for (const key of path) value = isYamlMap(value) ? value[String(key)] : undefined;
  if (path.some((key) => SECRET_FIELDS.has(key))) return "";
  const isPlain = ["string", "number", "boolean"].includes(typeof value);
  return isPlain ? `, not ${JSON.stringify(value).slice(0, 80)}` : "";
}

function unknownKey(prefix: string, key: string, known: readonly string[]): string {
  const name = `${prefix}${key.slice(0, 64)}`;
  const remedy = didYouMean(key, known, prefix) || `allowed are ${known.join(", ")}`;
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
