import { readFile, stat } from "node:fs/promises";
import { parseArgs } from "node:util";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { CLUSTER_ID_RULE, isClusterId } from "#lib/cluster-id.ts";
import { createSecret, type Secret } from "#lib/secret.ts";
import { createLogger } from "#telemetry/logger.ts";
import type { PrometheusCredentials } from "#clusters/cluster.ts";
import { loadClustersFile } from "#clusters/clusters-file.ts";
import { keysInvalid, readKeyFiles, writeKeyFile, type KeyFile } from "#clusters/key-files.ts";
import { loadKeyring, type DirectoryKeyring } from "#clusters/keyring.ts";
import { readKubeconfigFile } from "#clusters/kubernetes-client-config.ts";
import { parseKubeconfig, toKubeconfigText } from "#clusters/parse-kubeconfig.ts";
import {
  contradictionOf,
  prometheusCredentialFields,
  toPrometheusCredentials,
  type CredentialFields,
} from "#clusters/prometheus-credentials.ts";
import { originOf, urlField } from "#clusters/prometheus-url.ts";
import { usesOwnIdentity } from "#clusters/sigv4.ts";
import { readYaml } from "#lib/yaml.ts";

/** The streams of the command, besides the files that its arguments name. */
export interface KeysIo {
  clock: Clock;
  /** CREDENTIALS_KEYS_DIR. */
  keysDirectory: string | undefined;
  /** Standard output: results only. */
  out(text: string): void;
  /** Standard error: everything for people. */
  tell(text: string): void;
  /** Standard input to its end; throws when there is more than this. */
  readInput(bytesMax: number): Promise<string>;
}

const USAGE = `Usage: npm run keys -- generate DIR
       npm run keys -- rotate DIR
       npm run keys -- verify DIR [--clusters-file FILE]
       npm run --silent keys -- seal FILE --id ID [--context NAME] [--keys DIR]
                                     [--prometheus-token-file FILE | --prometheus-basic-auth-file FILE]
                                     [--prometheus-headers-file FILE]
       npm run --silent keys -- seal --prometheus-url URL --id ID [--keys DIR] [--prometheus-...-file FILE]

  generate   makes the first private key in DIR (RSA, mode 0600); refuses a directory that has keys
  rotate     adds a newer key, which seals from then on; the older ones still open what they sealed
  verify     says what is wrong with the keys of DIR, and whether every kubeconfig_jwe of FILE can be opened
  seal       prints the kubeconfig of FILE (- is standard input) as kubeconfig_jwe for CLUSTERS_FILE, for the cluster ID and no other

                  with --prometheus-url, in place of FILE: prints the credentials for the Prometheus at URL as credentials_jwe, for its scheme, host
                  and port and no other

  --context NAME                     which context of the kubeconfig; nothing of the others is sealed
  --keys DIR                         default: CREDENTIALS_KEYS_DIR
  --prometheus-token-file FILE       also seals the token that this cluster's Prometheus asks for
  --prometheus-basic-auth-file FILE  also seals its user name and password, written as name:password
  --prometheus-headers-file FILE     also seals headers for it, one "Name: value" a line
  --prometheus-sigv4-file FILE       also seals AWS keys for it: region, access_key_id, secret_access_key and more, as YAML or JSON (with --prometheus-url)
  --prometheus-client-certificate-file FILE  also seals a client certificate for it: the certificate and its key, both PEM (with --prometheus-url)

Exit code: 0 all is well; 1 something is wrong, and named; 78 wrong arguments.
`;

/** sysexits.h EX_CONFIG, as for the program's other arguments. */
const EXIT_USAGE = 78;
const KUBECONFIG_BYTES_MAX = 256 * 1024;
const CREDENTIAL_BYTES_MAX = 32 * 1024;

/** `npm run keys`: runs the command and resolves with its exit code. Never throws, and never shows a secret. */
export async function runKeysCommand(argv: readonly string[], io: KeysIo): Promise<number> {
  try {
    return await run(argv, io);
  } catch (thrown) {
    const error = toBridgeError(thrown);
    const problems = error.details?.["problems"];
    const lines = Array.isArray(problems) ? problems.map(String) : [error.message];
    io.tell(`${lines.join("\n")}\n${error.hint}\n`);
    return error.code === "config_invalid" ? EXIT_USAGE : 1;
  }
}

type Values = ReturnType<typeof parseKeysArguments>["values"];

const OPTIONS: Readonly<Record<string, readonly (keyof Values)[]>> = {
  generate: [],
  rotate: [],
  verify: ["clusters-file"],
  seal: [
    "id",
    "context",
    "keys",
    "prometheus-token-file",
    "prometheus-basic-auth-file",
    "prometheus-headers-file",
    "prometheus-client-certificate-file",
    "prometheus-sigv4-file",
    "prometheus-url",
  ],
};

async function run(argv: readonly string[], io: KeysIo): Promise<number> {
  const { values, positionals } = parseKeysArguments(argv);
  const [command = "", target, ...more] = positionals;
  if (values.help) {
    io.out(USAGE);
    return 0;
  }
  const options = Object.hasOwn(OPTIONS, command) ? OPTIONS[command] : undefined;
  if (!options) throw usage(`unknown command ${JSON.stringify(command)}`);
  const url = values["prometheus-url"];
  if (url !== undefined && target !== undefined)
    throw usage("--prometheus-url: stands in place of the kubeconfig");
  if ((url ?? target) === undefined || more.length > 0) throw usage(`${command}: needs one path`);
  for (const name of Object.keys(values) as (keyof Values)[]) {
    if (!options.includes(name)) throw usage(`--${name}: does not belong to ${command}`);
  }
  switch (command) {
    case "generate":
      return await generate(target!, io);
    case "rotate":
      return await rotate(target!, io);
    case "verify":
      return await verify(target!, values["clusters-file"], io);
    default:
      return await seal(target, values, io);
  }
}

function parseKeysArguments(argv: readonly string[]) {
  const text = { type: "string" } as const;
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        help: { type: "boolean", short: "h" },
        id: text,
        context: text,
        keys: text,
        "clusters-file": text,
        "prometheus-token-file": text,
        "prometheus-basic-auth-file": text,
        "prometheus-headers-file": text,
        "prometheus-client-certificate-file": text,
        "prometheus-sigv4-file": text,
        "prometheus-url": text,
      },
    });
  } catch (error) {
    throw usage(error instanceof Error ? error.message : String(error));
  }
}

async function generate(directory: string, io: KeysIo): Promise<number> {
  // A directory that is not there yet is made.
  const exists = (await stat(directory).catch(() => undefined)) !== undefined;
  const { keys, problems } = exists ? await readKeyFiles(directory) : { keys: [], problems: [] };
  if (keys.length > 0 || problems.length > 0) {
    throw new BridgeError("credentials_keys_invalid", `${directory} has keys already; nothing was changed`, {
      hint: "`npm run keys -- rotate DIR` adds a newer one, `verify` looks at what is there.",
    });
  }
  const name = await writeKeyFile(directory, io.clock.now());
  io.tell(
    `Made ${directory}/${name}. Keep a copy in a safe place: what it seals can't be opened without it.\n`,
  );
  return 0;
}

async function rotate(directory: string, io: KeysIo): Promise<number> {
  const { keys, problems } = await readKeyFiles(directory);
  if (problems.length > 0) throw keysInvalid(directory, problems);
  const last = keys.at(-1);
  if (!last) throw keysInvalid(directory, ["has no key yet: `npm run keys -- generate DIR` makes the first"]);
  const nowMs = io.clock.now();
  if (last.name >= new Date(nowMs).toISOString().replaceAll(":", "-")) {
    throw keysInvalid(directory, [
      `${last.name} would stay the newest, as its name comes after today's: rename it to the time when it was made (2026-11-22T10-30-00.000Z.pem)`,
    ]);
  }
  const name = await writeKeyFile(directory, nowMs);
  io.tell(
    `Made ${directory}/${name}: it seals from now on. Keep the older keys until nothing needs them any more: seal each kubeconfig_jwe of\n` +
      "CLUSTERS_FILE anew, and let the bridge run with the new key, which seals the clusters of its state store anew; then check with `verify`.\n",
  );
  return 0;
}

async function verify(directory: string, clustersFile: string | undefined, io: KeysIo): Promise<number> {
  const { keys, problems } = await readKeyFiles(directory);
  for (const key of keys) io.out(`${describe(key, key === keys.at(-1))}\n`);
  if (keys.length === 0 && problems.length === 0) problems.push("has no key, which is a file named *.pem");
  if (problems.length > 0) throw keysInvalid(directory, problems);
  if (clustersFile === undefined) return 0;
  const keyring = await openKeys(directory, io);
  const clusters = await loadClustersFile(clustersFile, VERIFY_DEFAULTS, keyring);
  for (const { id, credentials } of clusters) {
    if (credentials.kind !== "sealed") io.out(`${id}: in clear text (seal it)\n`);
    else if (keyring.isNewest(credentials.jwe)) io.out(`${id}: sealed with the newest key\n`);
    else io.out(`${id}: sealed with an older key (seal it anew before that key is removed)\n`);
  }
  return 0;
}

/** Of no matter here: nothing is connected. */
const VERIFY_DEFAULTS = {
  prometheus: {
    namespace: "default",
    service: "prometheus",
    port: 9090,
    scheme: "http",
    pathPrefix: "",
  },
  validateCerts: false,
} as const;

function describe({ name, kid, bits }: Pick<KeyFile, "name" | "kid" | "bits">, isNewest: boolean): string {
  return `${name}: RSA ${bits}, ${kid}${isNewest ? ", newest: seals" : ", opens"}`;
}

async function seal(source: string | undefined, values: Values, io: KeysIo): Promise<number> {
  const { id } = values;
  if (id === undefined) throw usage("--id: is missing; it is the cluster's id in CLUSTERS_FILE");
  if (!isClusterId(id)) throw usage(`--id: ${CLUSTER_ID_RULE}`);
  const directory = values.keys ?? io.keysDirectory;
  if (directory === undefined) throw usage("--keys DIR: is missing, and CREDENTIALS_KEYS_DIR is not set");
  const keyring = await openKeys(directory, io);
  const path = source === undefined ? readOrigin(values) : await readKubeconfig(source, values, io);
  const prometheus = await readPrometheus(values);
  if (source === undefined && !prometheus)
    throw usage("--prometheus-url: there are no credentials to seal; name a file of them");
  const jwe = await keyring.seal(id, { ...path, ...(prometheus ? { prometheus } : {}) });
  io.out(`${jwe}\n`);
  const field = source === undefined ? "credentials_jwe" : "kubeconfig_jwe";
  io.tell(
    `Sealed for the cluster ${id} with ${keyring.keys().at(-1)!.name}: give it to this cluster of CLUSTERS_FILE as ${field}.\n`,
  );
  return 0;
}

async function readKubeconfig(source: string, values: Values, io: KeysIo): Promise<{ kubeconfig: Secret }> {
  const { context } = values;
  if (values["prometheus-client-certificate-file"] !== undefined)
    throw usage("--prometheus-client-certificate-file: is only for --prometheus-url");
  const text =
    source === "-"
      ? await io.readInput(KUBECONFIG_BYTES_MAX)
      : await readKubeconfigFile(source, KUBECONFIG_BYTES_MAX);
  const parsed = parseKubeconfig(text, context === undefined ? {} : { context });
  return { kubeconfig: createSecret(toKubeconfigText(parsed)) };
}

function readOrigin({ context, "prometheus-url": url = "" }: Values): { origin: string } {
  if (context !== undefined) throw usage("--context: is of a kubeconfig, not of --prometheus-url");
  const problem = urlField.safeParse(url).error?.issues[0]?.message;
  if (problem !== undefined) throw usage(`--prometheus-url: ${problem}`);
  return { origin: originOf(url) };
}

async function openKeys(directory: string, io: KeysIo): Promise<DirectoryKeyring> {
  return await loadKeyring(directory, { clock: io.clock, logger: createLogger({ level: "silent" }) });
}

async function readPrometheus(values: Values): Promise<PrometheusCredentials | undefined> {
  const headersFile = values["prometheus-headers-file"];
  const headers = headersFile === undefined ? undefined : await readHeaders(headersFile);
  const fields = {
    ...(await readAuth(values)),
    ...(await readClientCertificate(values)),
    ...(await readSigv4(values)),
    headers,
  };
  const contradiction = contradictionOf(fields);
  if (contradiction !== undefined)
    throw wrongFile(headersFile ?? "the files of --prometheus-...", contradiction);
  return toPrometheusCredentials(fields);
}

async function readHeaders(path: string): Promise<Record<string, string>> {
  const lines = (await readCredential(path)).split(/\r?\n/).filter((line) => line.trim() !== "");
  const pairs = lines.map((line) => /^([^:]+):[ \t]*(.*?)[ \t]*$/.exec(line));
  if (pairs.includes(null)) throw wrongFile(path, 'must have one "Name: value" a line');
  const parsed = prometheusCredentialFields.headers.safeParse(
    Object.fromEntries(pairs.map((pair) => [pair![1], pair![2]])),
  );
  if (parsed.success && parsed.data) return parsed.data;
  throw wrongFile(path, `is wrong: one of the headers ${parsed.error?.issues[0]?.message}`);
}

async function readSigv4(values: Values): Promise<CredentialFields> {
  const file = values["prometheus-sigv4-file"];
  if (file === undefined) return {};
  if (values["prometheus-url"] === undefined)
    throw usage("--prometheus-sigv4-file: is only for --prometheus-url");
  const read = readYaml(await readCredential(file), { bytesMax: CREDENTIAL_BYTES_MAX, structureMax: 100 });
  if (!read.ok) throw wrongFile(file, read.reason);
  const parsed = prometheusCredentialFields.sigv4.safeParse(read.value);
  if (!parsed.success || !parsed.data) throw wrongFile(file, parsed.error?.issues[0]?.message);
  if (usesOwnIdentity(parsed.data)) throw wrongFile(file, "has no access_key_id: there is nothing to seal");
  return { sigv4: parsed.data };
}

async function readClientCertificate(values: Values): Promise<CredentialFields> {
  const file = values["prometheus-client-certificate-file"];
  if (file === undefined) return {};
  const pem = await readCredential(file);
  const parsed = prometheusCredentialFields.client_certificate.safeParse({ cert: pem, key: pem });
  if (parsed.success && parsed.data) return { client_certificate: parsed.data };
  throw wrongFile(file, parsed.error?.issues[0]?.message);
}

async function readAuth(
  values: Values,
): Promise<{ bearer_token?: string; basic_auth?: { username: string; password: string } }> {
  const tokenFile = values["prometheus-token-file"];
  const basicFile = values["prometheus-basic-auth-file"];
  if (tokenFile !== undefined && basicFile !== undefined) {
    throw usage("--prometheus-basic-auth-file: can't be together with --prometheus-token-file");
  }
  if (tokenFile !== undefined) {
    const parsed = prometheusCredentialFields.bearer_token.safeParse(await readCredential(tokenFile));
    if (parsed.success && parsed.data !== undefined) return { bearer_token: parsed.data };
    throw wrongFile(tokenFile, parsed.error?.issues[0]?.message);
  }
  if (basicFile !== undefined) {
    const [username, ...password] = (await readCredential(basicFile)).split(":");
    const pair = { username, password: password.join(":") };
    const parsed = prometheusCredentialFields.basic_auth.safeParse(pair);
    if (parsed.success && parsed.data) return { basic_auth: parsed.data };
    throw wrongFile(basicFile, `must be name:password; one of them ${parsed.error?.issues[0]?.message}`);
  }
  return {};
}

/** The text of a file, without the line break at its end. */
async function readCredential(path: string): Promise<string> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
    throw wrongFile(path, `can't be read (${code})`);
  }
  if (content.length > CREDENTIAL_BYTES_MAX)
    throw wrongFile(path, `is larger than ${CREDENTIAL_BYTES_MAX} bytes`);
  return content.toString("utf8").replace(/\r?\n$/, "");
}

function wrongFile(path: string, why = "is wrong"): BridgeError {
  return new BridgeError("request_invalid", `${path} ${why}`, {
    hint: "Correct the file; nothing was sealed.",
  });
}

function usage(problem: string): BridgeError {
  return new BridgeError("config_invalid", problem, { hint: "See `npm run keys -- --help`." });
}
