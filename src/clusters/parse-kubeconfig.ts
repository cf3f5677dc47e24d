import { createPrivateKey, type X509Certificate } from "node:crypto";
import { BridgeError } from "#errors/error.ts";
import { fromBase64, isEncodedKubeconfig, pemDataProblem } from "./pem-data.ts";
import { readCertificates } from "./pem.ts";
import { isYamlMap, readYaml, type YamlMap } from "#lib/yaml.ts";

/** The fields that are taken from an untrusted kubeconfig. All of them are plain, validated data. */
export interface ParsedKubeconfig {
  /** https URL without user info, query, fragment and trailing slash; may have a path. */
  server: string;
  /** One or more PEM certificates. Absent: the system's CAs decide. */
  caPem?: string;
  /** Name in the API server's certificate, when it differs from the URL's host. */
  tlsServerName?: string;
  token?: string;
  clientCertificate?: { certPem: string; keyPem: string };
}

export interface ParseOptions {
  /** Name of the context to use. Default: `current-context`, or the only context that there is. */
  context?: string;
  /** Of several contexts one must be named: what a file's `current-context` is, is often an accident. Default false. */
  explicitContext?: boolean;
  /** Default true. When true, `insecure-skip-tls-verify: true` is refused; when false the file's wish changes nothing. */
  validateCerts?: boolean;
}

const LIMITS = { bytesMax: 256 * 1024, structureMax: 4000 };
const TEXT_MAX = 1024;
const TOKEN_MAX = 32 * 1024;

/** Fields that make a client run a program, read a file, dial another host or impersonate another user, and what to use instead. */
const REFUSED: Readonly<Record<string, string>> = {
  exec: "it runs a program; put a token into `token`",
  "auth-provider": "it runs a program or calls another server; put a token into `token`",
  tokenFile: "it reads a file; put the token into `token`",
  "token-file": "it reads a file; put the token into `token`",
  "certificate-authority": "it reads a file; use certificate-authority-data",
  "client-certificate": "it reads a file; use client-certificate-data",
  "client-key": "it reads a file; use client-key-data",
  "proxy-url": "it sends the connection over another host",
  as: "it impersonates another user",
  "as-uid": "it impersonates another user",
  "as-groups": "it impersonates another user",
  "as-user-extra": "it impersonates another user",
  username: "basic authentication is not supported; use `token`",
  password: "basic authentication is not supported; use `token`",
};

const ALLOWED = {
  file: [
    "apiVersion",
    "kind",
    "clusters",
    "users",
    "contexts",
    "current-context",
    "preferences",
    "extensions",
  ],
  entry: (body: string) => ["name", body],
  cluster: [
    "server",
    "certificate-authority-data",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "disable-compression",
    "extensions",
  ],
  user: ["token", "client-certificate-data", "client-key-data", "extensions"],
  context: ["cluster", "user", "namespace", "extensions"],
};

/**
 * Reads a kubeconfig that may be hostile: only what is on an allow-list gets through, of every entry in the file, used or not.
 * Throws BridgeError `kubeconfig_refused` (details.field names what is not allowed) or `kubeconfig_invalid`. No message
 * quotes a value of the file other than names of contexts, clusters and users. Nothing is run, read or dialled.
 */
export function parseKubeconfig(text: string, options: ParseOptions = {}): ParsedKubeconfig {
  const entries = readEntries(readKubeconfigFile(text));
  const { cluster, user } = selectEntries(entries, options);
  return { ...readCluster(cluster), ...readUser(user) };
}

/** The file as a mapping, as it is. Throws `kubeconfig_invalid`. */
export function readKubeconfigFile(text: string): YamlMap {
  const read = readYaml(text, LIMITS);
  if (!read.ok) throw new BridgeError("kubeconfig_invalid", `the kubeconfig ${read.reason}`);
  if (typeof read.value === "string" && isEncodedKubeconfig(read.value)) throw encodedKubeconfig();
  if (!isYamlMap(read.value)) {
    throw new BridgeError("kubeconfig_invalid", "the kubeconfig must be a mapping, as text in UTF-8");
  }
  return withoutAbsent(read.value);
}

/** The entries of a file of which every field is on the allow-list, by their names. */
export interface KubeconfigEntries {
  file: YamlMap;
  clusters: Map<string, Entry>;
  users: Map<string, Entry>;
  contexts: Map<string, Entry>;
}

/** Throws `kubeconfig_refused` and `kubeconfig_invalid`: what they say holds for every context. */
export function readEntries(file: YamlMap): KubeconfigEntries {
  checkFields(file, ALLOWED.file, "");
  if (file["kind"] !== undefined && file["kind"] !== "Config") throw invalid("kind", 'must be "Config"');
  return {
    file,
    clusters: namedEntries(file, "clusters", "cluster"),
    users: namedEntries(file, "users", "user"),
    contexts: namedEntries(file, "contexts", "context"),
  };
}

/** The cluster and the user of the context that the options choose. Throws `kubeconfig_refused` and `kubeconfig_invalid`. */
export function selectEntries(
  { file, clusters, users, contexts }: KubeconfigEntries,
  options: ParseOptions,
): { cluster: Entry; user: Entry } {
  const context = selectContext(file, contexts, options);
  const clusterName = requiredText(context.body, "cluster", context.path);
  const userName = requiredText(context.body, "user", context.path);
  const cluster = clusters.get(clusterName);
  if (!cluster) throw invalid(`${context.path}.cluster`, "names a cluster that the file does not have");
  const user = users.get(userName);
  if (!user) throw invalid(`${context.path}.user`, "names a user that the file does not have");
  const skipPath = insecurePath(clusters);
  if (skipPath && options.validateCerts !== false) {
    throw refused(skipPath, "turning the verification of certificates off is not the kubeconfig's decision", {
      hint: "Remove the field and give certificate-authority-data, or set validate_certs: false for this cluster.",
    });
  }
  return { cluster, user };
}

/** A cluster, a user or a context of a file. */
export interface Entry {
  /** "users[0].user" */
  path: string;
  body: YamlMap;
}

function namedEntries(
  file: YamlMap,
  list: "clusters" | "users" | "contexts",
  kind: "cluster" | "user" | "context",
) {
  const value = file[list] ?? [];
  if (!Array.isArray(value)) throw invalid(list, "must be a list");
  const entries = new Map<string, Entry>();
  for (const [index, item] of value.entries()) {
    const path = `${list}[${index}]`;
    const entry = asMap(item, path);
    checkFields(entry, ALLOWED.entry(kind), `${path}.`);
    const name = requiredText(entry, "name", path);
    if (entries.has(name)) throw invalid(`${path}.name`, "is there twice");
    const body = asMap(entry[kind] ?? {}, `${path}.${kind}`);
    checkFields(body, ALLOWED[kind], `${path}.${kind}.`);
    entries.set(name, { path: `${path}.${kind}`, body });
  }
  return entries;
}

function checkFields(map: YamlMap, allowed: readonly string[], prefix: string): void {
  for (const key of Object.keys(map)) {
    const why = Object.hasOwn(REFUSED, key) ? REFUSED[key] : undefined;
    if (why) throw refused(`${prefix}${key}`, why);
    if (key.startsWith("impersonate")) throw refused(`${prefix}${key}`, "it impersonates another user");
    if (!allowed.includes(key)) throw refused(`${prefix}${fieldName(key)}`, "the field is not known");
  }
}

function selectContext(file: YamlMap, contexts: Map<string, Entry>, options: ParseOptions): Entry {
  const { context: wanted, explicitContext = false } = options;
  const names = [...contexts.keys()];
  if (names.length === 0) throw invalid("contexts", "has no entry");
  const named = optionalText(file, "current-context", "") ?? "";
  const current = explicitContext && names.length > 1 ? "" : named;
  const name = wanted ?? (current === "" && names.length === 1 ? names[0] : current);
  const known = `The file has: ${names.slice(0, 20).map(shortName).join(", ")}.`;
  if (name === undefined || name === "") {
    throw new BridgeError(
      "kubeconfig_invalid",
      explicitContext
        ? "the kubeconfig has several contexts"
        : "the kubeconfig has several contexts and no current-context",
      {
        hint: `Name one with \`context\`. ${known}`,
        details: { field: explicitContext ? "context" : "current-context" },
      },
    );
  }
  const context = contexts.get(name);
  if (context) return context;
  throw new BridgeError(
    "kubeconfig_invalid",
    `the kubeconfig has no context ${JSON.stringify(shortName(name))}`,
    {
      hint: `Name another one with \`context\`. ${known}`,
      details: { field: wanted === undefined ? "current-context" : "context" },
    },
  );
}

function insecurePath(clusters: Map<string, Entry>): string | undefined {
  for (const { path, body } of clusters.values()) {
    const value = body["insecure-skip-tls-verify"];
    const field = `${path}.insecure-skip-tls-verify`;
    if (value !== undefined && typeof value !== "boolean") throw invalid(field, "must be true or false");
    if (value) return field;
  }
  return undefined;
}

/** Throws `kubeconfig_refused` and `kubeconfig_invalid`. */
export function readCluster({
  path,
  body,
}: Entry): Pick<ParsedKubeconfig, "server" | "caPem" | "tlsServerName"> {
  const server = readServer(requiredText(body, "server", path), `${path}.server`);
  const caPem = pemData(body, "certificate-authority-data", path);
  if (caPem !== undefined) certificates(caPem, `${path}.certificate-authority-data`);
  const tlsServerName = optionalText(body, "tls-server-name", path);
  if (tlsServerName !== undefined && !/^[A-Za-z0-9_.:-]{1,253}$/.test(tlsServerName)) {
    throw invalid(`${path}.tls-server-name`, "must be a host name");
  }
  return {
    server,
    ...(caPem === undefined ? {} : { caPem }),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
  };
}

function readServer(text: string, field: string): string {
  const url = URL.parse(text);
  if (!url) throw invalid(field, "must be a URL such as https://host:6443");
  if (url.protocol !== "https:") throw refused(field, "only https servers are allowed");
  if (url.username !== "" || url.password !== "") throw refused(field, "user info in the URL is not allowed");
  if (url.search !== "" || url.hash !== "")
    throw refused(field, "a query or fragment in the URL is not allowed");
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

/** Throws `kubeconfig_invalid`. */
export function readUser({ path, body }: Entry): Pick<ParsedKubeconfig, "token" | "clientCertificate"> {
  const token = optionalText(body, "token", path, TOKEN_MAX)?.trim();
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw invalid(`${path}.token`, "must be printable ASCII without spaces");
  }
  if ("client-certificate-data" in body !== "client-key-data" in body) {
    throw invalid(path, "client-certificate-data and client-key-data belong together");
  }
  const certPem = pemData(body, "client-certificate-data", path);
  const keyPem = pemData(body, "client-key-data", path, "private key");
  if (token === undefined && certPem === undefined) {
    throw invalid(path, "has neither a token nor client-certificate-data with client-key-data");
  }
  if (certPem === undefined || keyPem === undefined) return token === undefined ? {} : { token };
  checkPair(certPem, keyPem, path);
  return { ...(token === undefined ? {} : { token }), clientCertificate: { certPem, keyPem } };
}

function checkPair(certPem: string, keyPem: string, path: string): void {
  const [certificate] = certificates(certPem, `${path}.client-certificate-data`);
  let matches: boolean | undefined;
  try {
    matches = certificate?.checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    throw invalid(`${path}.client-key-data`, "is not an unencrypted private key in PEM");
  }
  if (!matches) throw invalid(`${path}.client-key-data`, "does not belong to client-certificate-data");
}

function certificates(pem: string, field: string): X509Certificate[] {
  const result = readCertificates(pem);
  if (!result.ok) throw invalid(field, result.reason);
  return result.certificates;
}

function pemData(
  map: YamlMap,
  key: string,
  path: string,
  wanted: "certificate" | "private key" = "certificate",
): string | undefined {
  const value = optionalText(map, key, path, LIMITS.bytesMax);
  if (value === undefined) return undefined;
  const problem = pemDataProblem(value, wanted);
  if (problem !== undefined) throw invalid(`${path}.${key}`, problem);
  return fromBase64(value)?.toString("latin1");
}

/** The mapping without its absent fields. */
function asMap(value: unknown, path: string): YamlMap {
  if (!isYamlMap(value)) throw invalid(path, "must be a mapping");
  return withoutAbsent(value);
}

/** client-go takes these for plugins as soon as they are there, however empty. */
const PLUGINS = new Set(["exec", "auth-provider"]);

/** A copy without the fields that client-go can't tell from missing ones: null, and the empty text, list or mapping. */
export function withoutAbsent(map: YamlMap): YamlMap {
  const isAbsent = ([key, value]: [string, unknown]): boolean => {
    if (value === null || value === undefined || value === "") return true;
    if (typeof value !== "object" || PLUGINS.has(key)) return false;
    return Object.keys(value).length === 0;
  };
  return Object.fromEntries(Object.entries(map).filter((field) => !isAbsent(field)));
}

function requiredText(map: YamlMap, key: string, path: string): string {
  const value = optionalText(map, key, path);
  if (value === undefined) throw invalid(`${path}.${key}`, "is missing");
  return value;
}

/** An empty text counts as absent, as kubectl sees it. */
function optionalText(map: YamlMap, key: string, path: string, max = TEXT_MAX): string | undefined {
  const value = map[key];
  const field = path === "" ? key : `${path}.${key}`;
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string") throw invalid(field, "must be a text (put it in quotes)");
  if (value.length > max) throw invalid(field, `is longer than ${max} characters`);
  return value;
}

/** A kubeconfig (JSON) of nothing but what was taken over: other contexts' credentials are not kept. */
export function toKubeconfigText(parsed: ParsedKubeconfig): string {
  const base64 = (text: string): string => Buffer.from(text, "latin1").toString("base64");
  const { server, caPem, tlsServerName, token, clientCertificate } = parsed;
  const cluster = {
    server,
    ...(caPem === undefined ? {} : { "certificate-authority-data": base64(caPem) }),
    ...(tlsServerName === undefined ? {} : { "tls-server-name": tlsServerName }),
  };
  const user = {
    ...(token === undefined ? {} : { token }),
    ...(clientCertificate
      ? {
          "client-certificate-data": base64(clientCertificate.certPem),
          "client-key-data": base64(clientCertificate.keyPem),
        }
      : {}),
  };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "cluster", cluster }],
    users: [{ name: "user", user }],
    contexts: [{ name: "context", context: { cluster: "cluster", user: "user" } }],
    "current-context": "context",
  });
}

/** A key that does not look like a field may be a secret in the wrong place. */
function fieldName(key: string): string {
  return /^[A-Za-z][a-zA-Z-]{0,31}$/.test(key) ? key : "(unreadable name)";
}

function shortName(name: string): string {
  return name.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 64);
}

function invalid(field: string, why: string): BridgeError {
  return new BridgeError("kubeconfig_invalid", `the kubeconfig's ${field} ${why}`, { details: { field } });
}

/** The error about a text that is the base64 of a kubeconfig. */
export function encodedKubeconfig(): BridgeError {
  return new BridgeError("kubeconfig_invalid", "the kubeconfig is encoded in base64", {
    hint: "Decode it first: base64 -d FILE.",
  });
}

function refused(field: string, why: string, options: { hint?: string } = {}): BridgeError {
  return new BridgeError("kubeconfig_refused", `the kubeconfig's ${field} is not allowed: ${why}`, {
    details: { field },
    ...options,
  });
}
