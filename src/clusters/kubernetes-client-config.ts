import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Cluster, KubeConfig, User } from "@kubernetes/client-node";
import { parse, YAMLParseError } from "yaml";
import { BridgeError } from "#errors/error.ts";
import type { KubeconfigCredentials } from "./cluster.ts";
import { withExecInfo } from "./exec-plugin.ts";
import { encodedKubeconfig, parseKubeconfig, withoutAbsent } from "./parse-kubeconfig.ts";
import { isEncodedKubeconfig, pemDataProblem } from "./pem-data.ts";
import { isYamlMap, type YamlMap } from "#lib/yaml.ts";

const TRUSTED_BYTES_MAX = 4 * 1024 * 1024;

/** client-node takes 80 MiB of memory and a second: only processes that connect to clusters load it, before they begin. */
export async function loadKubernetesClient(): Promise<void> {
  await newKubeConfig();
}

async function newKubeConfig(): Promise<KubeConfig> {
  const client = await import("@kubernetes/client-node");
  return new client.KubeConfig();
}

/**
 * Credentials as client-node's KubeConfig, which then authenticates requests. Make a new one for every round: client-node
 * caches connections' settings by name inside of it, so changed credentials would go unnoticed.
 *
 * `inline` credentials go through the allow-list parser and only what it let through gets here. Trusted ones are read as
 * kubectl does: files are read, and exec plugins run when a request is authenticated. Relative paths are relative to the
 * file, in a trusted text to the working directory.
 *
 * `validateCerts` alone decides whether the API server's certificate is verified. Throws BridgeError `kubeconfig_refused` or
 * `kubeconfig_invalid`, without any text of the file in it.
 */
export async function toKubeConfig(
  credentials: KubeconfigCredentials,
  validateCerts: boolean,
): Promise<KubeConfig> {
  if (credentials.kind === "inline") {
    const { cluster, user } = toEntries(credentials, validateCerts);
    const kubeConfig = await newKubeConfig();
    kubeConfig.loadFromClusterAndUser(cluster, user);
    return kubeConfig;
  }
  const directory = credentials.kind === "trusted-file" ? dirname(credentials.path) : "";
  const kubeConfig = await loadTrusted(credentials, directory);
  checkCluster(kubeConfig, validateCerts);
  const [user, cluster] = [kubeConfig.getCurrentUser(), kubeConfig.getCurrentCluster()];
  if (user && cluster) {
    const prepared = await withExecInfo(user, cluster, directory);
    kubeConfig.users = kubeConfig.users.map((each) => (each === user ? prepared : each));
  }
  return kubeConfig;
}

type InlineCredentials = Extract<KubeconfigCredentials, { kind: "inline" }>;
type TrustedCredentials = Exclude<KubeconfigCredentials, InlineCredentials>;

/** The cluster and the user of a kubeconfig that passes the allow-list. Throws as `parseKubeconfig` does. */
export function toEntries(
  credentials: InlineCredentials,
  validateCerts: boolean,
): { cluster: Cluster; user: User } {
  const parsed = parseKubeconfig(credentials.kubeconfig.expose(), {
    validateCerts,
    ...(credentials.context === undefined ? {} : { context: credentials.context }),
  });
  const base64 = (text: string): string => Buffer.from(text, "latin1").toString("base64");
  const { caPem, tlsServerName, token, clientCertificate } = parsed;
  const cluster: Cluster = {
    name: "cluster",
    server: parsed.server,
    skipTLSVerify: !validateCerts,
    ...(caPem === undefined ? {} : { caData: base64(caPem) }),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
  };
  const user: User = {
    name: "user",
    ...(token === undefined ? {} : { token }),
    ...(clientCertificate
      ? { certData: base64(clientCertificate.certPem), keyData: base64(clientCertificate.keyPem) }
      : {}),
  };
  return { cluster, user };
}

async function loadTrusted(credentials: TrustedCredentials, directory: string): Promise<KubeConfig> {
  const text =
    credentials.kind === "trusted-file"
      ? await readKubeconfigFile(credentials.path, TRUSTED_BYTES_MAX)
      : credentials.kubeconfig.expose();
  if (isEncodedKubeconfig(text)) throw encodedKubeconfig();
  const kubeConfig = await newKubeConfig();
  let file: unknown;
  try {
    // Read here, not by client-node: kubectl knows merge keys (`<<`), and takes the last of two equal keys.
    file = parse(text, { merge: true, uniqueKeys: false, logLevel: "error" });
    if (!isYamlMap(file)) {
      throw new BridgeError(
        "kubeconfig_invalid",
        "the kubeconfig is empty or is no kubeconfig: it must be a mapping",
      );
    }
    // kubectl doesn't mind an entry that is of no use, as long as no context in use names it.
    kubeConfig.loadFromString(JSON.stringify(file), { onInvalidEntry: "filter" });
    dropAbsent(kubeConfig);
    if (directory !== "") kubeConfig.makePathsAbsolute(directory);
  } catch (error) {
    if (error instanceof BridgeError) throw error;
    // The loader's own messages quote the file, secrets and all.
    throw new BridgeError("kubeconfig_invalid", `the kubeconfig can't be loaded${place(error)}`);
  }
  checkTexts(file);
  selectContext(kubeConfig, credentials.context);
  await takeTokenFile(kubeConfig, file, directory);
  checkToken(kubeConfig.getCurrentUser()?.token);
  return kubeConfig;
}

/**
 * Empty fields count as missing, and data win over a file, both as client-go has it: client-node would impersonate the user "", and read the
 * file though there are data.
 */
function dropAbsent(kubeConfig: KubeConfig): void {
  kubeConfig.clusters = kubeConfig.clusters.map((cluster) => {
    const { name, server, skipTLSVerify } = cluster;
    const { caFile, ...rest } = withoutAbsent({ ...cluster });
    return { ...rest, ...(rest["caData"] ? {} : { caFile }), name, server, skipTLSVerify } as Cluster;
  });
  kubeConfig.users = kubeConfig.users.map((user) => {
    const { certFile, keyFile, ...rest } = withoutAbsent({ ...user });
    const files = { ...(rest["certData"] ? {} : { certFile }), ...(rest["keyData"] ? {} : { keyFile }) };
    const token: unknown = rest["token"];
    const trimmed = typeof token === "string" ? { token: token.trim() } : {};
    return { ...rest, ...files, ...trimmed, name: user.name } as User;
  });
}

/**
 * client-node does not know kubectl's `tokenFile`, which wins over `token`. It is read for the current user, in each round like the
 * whole kubeconfig.
 */
async function takeTokenFile(kubeConfig: KubeConfig, file: YamlMap, directory: string): Promise<void> {
  const current = kubeConfig.getCurrentUser();
  const users: unknown[] = Array.isArray(file["users"]) ? file["users"] : [];
  const entry = users.find((each) => isYamlMap(each) && each["name"] === current?.name);
  const user = isYamlMap(entry) ? entry["user"] : undefined;
  const tokenFile = isYamlMap(user) ? user["tokenFile"] : undefined;
  if (typeof tokenFile !== "string" || tokenFile === "") return;
  let token: string;
  try {
    token = (await readFile(resolve(directory, tokenFile), "utf8")).trim();
  } catch (error) {
    throw new BridgeError("kubeconfig_invalid", `the kubeconfig's tokenFile can't be read${place(error)}`, {
      details: { field: "tokenFile" },
      hint: "Check that the path is right and that this process may read the file.",
    });
  }
  kubeConfig.users = kubeConfig.users.map((each) => (each === current ? { ...each, token } : each));
}

const TEXTS = {
  clusters: ["server", "certificate-authority", "certificate-authority-data", "proxy-url", "tls-server-name"],
  users: [
    "token",
    "tokenFile",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "username",
    "password",
    "as",
  ],
} as const;

/** client-node takes any value for a text, and fails on it later. kubectl refuses a number there as well. */
function checkTexts(file: YamlMap): void {
  for (const [list, fields] of Object.entries(TEXTS)) {
    const entries: unknown[] = Array.isArray(file[list]) ? file[list] : [];
    for (const [index, entry] of entries.entries()) {
      const kind = list.slice(0, -1);
      const body = isYamlMap(entry) ? entry[kind] : undefined;
      if (!isYamlMap(body)) continue;
      const field = fields.find(
        (each) => !["string", "undefined"].includes(typeof (body[each] ?? undefined)),
      );
      if (field === undefined) continue;
      const path = `${list}[${index}].${kind}.${field}`;
      throw new BridgeError(
        "kubeconfig_invalid",
        `the kubeconfig's ${path} must be a text (put it in quotes)`,
        {
          details: { field: path },
        },
      );
    }
  }
}

/** Without this check, the first request would fail as if the network had. */
function checkToken(token: string | undefined): void {
  if (token === undefined || /^[\x21-\x7e]*$/.test(token)) return;
  throw new BridgeError(
    "kubeconfig_invalid",
    "the kubeconfig's token must be printable ASCII without spaces",
    {
      details: { field: "token" },
    },
  );
}

/** The text of a kubeconfig file, UTF-8 or, as PowerShell's `>` writes it, UTF-16. Throws BridgeError `kubeconfig_invalid` when it can't be read or is too large. */
export async function readKubeconfigFile(path: string, bytesMax: number): Promise<string> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    throw new BridgeError("kubeconfig_invalid", `the kubeconfig file ${path} can't be read${place(error)}`, {
      hint: "Check that the path is right and that this process may read the file.",
    });
  }
  if (content.length > bytesMax) {
    throw new BridgeError(
      "kubeconfig_invalid",
      `the kubeconfig file ${path} is larger than ${bytesMax} bytes`,
    );
  }
  const isUtf16 = content[0] === 0xff && content[1] === 0xfe;
  return content.toString(isUtf16 ? "utf16le" : "utf8");
}

/** Where a loader failed: a system error's code or a YAML error's line, which are all that is safe to tell. */
function place(error: unknown): string {
  if (error instanceof YAMLParseError) {
    const line = error.linePos?.[0].line;
    return line === undefined ? "" : ` (line ${line})`;
  }
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" && /^[A-Z_]+$/.test(error.code) ? ` (${error.code})` : "";
}

function selectContext(kubeConfig: KubeConfig, wanted: string | undefined): void {
  const names = kubeConfig.contexts.map((context) => context.name);
  const name =
    wanted ?? (kubeConfig.currentContext || undefined) ?? (names.length === 1 ? names[0] : undefined);
  const context = kubeConfig.contexts.find((each) => each.name === name);
  if (!name || !context) {
    const what = name ? `no context ${JSON.stringify(name)}` : "no current-context";
    throw new BridgeError("kubeconfig_invalid", `the kubeconfig has ${what}`, {
      hint: `Name one of its contexts: ${names.slice(0, 20).join(", ") || "it has none"}.`,
    });
  }
  kubeConfig.setCurrentContext(name);
  if (context.user && !kubeConfig.getCurrentUser()) {
    throw new BridgeError(
      "kubeconfig_invalid",
      "the kubeconfig's context names a user that it does not have",
    );
  }
  if (!context.user) {
    // Without a user client-node ignores the cluster's CA and TLS settings.
    kubeConfig.addUser({ name: ANONYMOUS });
    kubeConfig.contexts = kubeConfig.contexts.map((each) =>
      each === context ? { ...each, user: ANONYMOUS } : each,
    );
  }
}

const ANONYMOUS = "budcluster-anonymous";

function checkCluster(kubeConfig: KubeConfig, validateCerts: boolean): void {
  const cluster = kubeConfig.getCurrentCluster();
  if (!cluster) {
    throw new BridgeError(
      "kubeconfig_invalid",
      "the kubeconfig's context names a cluster that it does not have",
    );
  }
  const caProblem = cluster.caData && pemDataProblem(cluster.caData, "certificate");
  if (caProblem) {
    throw new BridgeError("kubeconfig_invalid", `the kubeconfig's certificate-authority-data ${caProblem}`, {
      details: { field: "certificate-authority-data" },
    });
  }
  if (URL.parse(cluster.server)?.protocol !== "https:") {
    throw new BridgeError(
      "kubeconfig_refused",
      "the kubeconfig's server is not allowed: only https servers are",
      {
        details: { field: "server" },
      },
    );
  }
  if (cluster.skipTLSVerify && validateCerts) {
    throw new BridgeError("kubeconfig_refused", "the kubeconfig asks for insecure-skip-tls-verify", {
      hint: "Remove the field and name the cluster's CA, or set validate_certs: false for this cluster (or VALIDATE_CERTS=false).",
      details: { field: "insecure-skip-tls-verify" },
    });
  }
  kubeConfig.clusters = kubeConfig.clusters.map((each) =>
    each === cluster ? { ...each, skipTLSVerify: !validateCerts } : each,
  );
}
