import { BridgeError } from "#errors/error.ts";
import { contextField } from "./cluster-fields.ts";
import type { CredentialFacts } from "./cluster.ts";
import { shownServer, toCredentialFacts } from "./credential-facts.ts";
import {
  readCluster,
  readEntries,
  readKubeconfigFile,
  readUser,
  selectEntries,
  type Entry,
  type KubeconfigEntries,
  type ParsedKubeconfig,
} from "./parse-kubeconfig.ts";
import { isYamlMap, type YamlMap } from "#lib/yaml.ts";

/** How a user of a kubeconfig authenticates. Only the first two are accepted. */
export const AUTHENTICATIONS = [
  "token",
  "client-certificate",
  "exec",
  "auth-provider",
  "token-file",
  "client-certificate-file",
  "basic",
] as const;
type Authentication = (typeof AUTHENTICATIONS)[number];

/** A context of a kubeconfig, without anything secret. */
export interface InspectedContext {
  context: string;
  /** Scheme, host and port of the API server; null when there is none that can be read. */
  server: string | null;
  authentication: Authentication | null;
  /** The context's own namespace, as the file has it. */
  namespace: string | null;
  /** Of an accepted context: its user's. */
  facts?: CredentialFacts;
  /** Why POST /clusters refuses it; absent: it is accepted. */
  problem?: BridgeError;
}

export interface InspectedKubeconfig {
  /** Of the file's order; empty when it can't be read. */
  contexts: InspectedContext[];
  currentContext: string | null;
  /** Why no context can be used; absent: at least one is judged by itself. */
  problem?: BridgeError;
}

export interface InspectSettings {
  validateCerts: boolean;
  /** Throws api_server_refused when the host of a URL is an address that is not allowed. Names are not resolved. */
  checkHost: (hostname: string) => void;
}

/**
 * What registering each context of a kubeconfig would meet before anything is connected: the same rules in the same order. Each entry is read once,
 * however many contexts share it. Connects nowhere, resolves no name, stores nothing.
 */
export function inspectKubeconfig(text: string, settings: InspectSettings): InspectedKubeconfig {
  let file: YamlMap = {};
  try {
    file = readKubeconfigFile(text);
    const entries = readEntries(file);
    const judge = createJudge(entries, settings);
    const contexts = describeContexts(file).map((described) => ({
      ...described,
      ...judge(described.context),
    }));
    // The error about a file without contexts.
    if (contexts.length === 0) selectEntries(entries, settings);
    return { contexts, currentContext: textOf(file["current-context"]) };
  } catch (thrown) {
    const problem = requireBridgeError(thrown);
    const contexts = describeContexts(file).map((described) => ({ ...described, problem }));
    return { contexts, currentContext: textOf(file["current-context"]), problem };
  }
}

type Judgement = Pick<InspectedContext, "facts" | "problem">;

function createJudge(entries: KubeconfigEntries, settings: InspectSettings): (context: string) => Judgement {
  const { validateCerts, checkHost } = settings;
  const clusterOf = remembered((entry) => {
    const { server } = readCluster(entry);
    checkHost(new URL(server).hostname);
    return server;
  });
  const factsOf = remembered((entry) => toUserFacts(readUser(entry)));
  return (context) => {
    try {
      const { cluster, user } = selectEntries(entries, { context, explicitContext: true, validateCerts });
      clusterOf(cluster);
      const facts = factsOf(user);
      if (entries.contexts.size > 1) requireUsableName(context);
      return { facts };
    } catch (thrown) {
      return { problem: requireBridgeError(thrown) };
    }
  };
}

/** Of several contexts one must be named, in a field that takes no other names. */
function requireUsableName(context: string): void {
  const issue = contextField.safeParse(context).error?.issues[0];
  if (!issue) return;
  throw new BridgeError("request_invalid", `body field "context": ${issue.message}`, {
    hint: "Rename the context (kubectl config rename-context), or give a kubeconfig that has no other.",
    details: { field: "context" },
  });
}

function toUserFacts({
  token,
  clientCertificate,
}: Pick<ParsedKubeconfig, "token" | "clientCertificate">): CredentialFacts {
  const user = {
    name: "user",
    ...(token === undefined ? {} : { token }),
    ...(clientCertificate
      ? { certData: Buffer.from(clientCertificate.certPem, "latin1").toString("base64") }
      : {}),
  };
  return toCredentialFacts({ getCurrentCluster: () => null, getCurrentUser: () => user }, undefined);
}

/** Runs `read` once for each entry, and gives the same value, or throws the same error, again. */
function remembered<T>(read: (entry: Entry) => T): (entry: Entry) => T {
  const known = new Map<Entry, () => T>();
  return (entry) => {
    let outcome = known.get(entry);
    if (!outcome) {
      try {
        const value = read(entry);
        outcome = () => value;
      } catch (error) {
        outcome = () => {
          throw error;
        };
      }
      known.set(entry, outcome);
    }
    return outcome();
  };
}

type Described = Omit<InspectedContext, "facts" | "problem">;

/** The contexts of a file of which nothing is checked yet. */
function describeContexts(file: YamlMap): Described[] {
  const clusters = bodiesOf(file, "clusters", "cluster");
  const users = bodiesOf(file, "users", "user");
  return namedBodies(file, "contexts", "context").map(([context, body]) => {
    const server = shownServer(textOf(clusters.get(textOf(body["cluster"]) ?? "")?.["server"]) ?? "");
    return {
      context,
      server: server === "" ? null : server,
      authentication: authenticationOf(users.get(textOf(body["user"]) ?? "") ?? {}),
      namespace: textOf(body["namespace"]),
    };
  });
}

const bodiesOf = (file: YamlMap, list: string, kind: string): Map<string, YamlMap> =>
  new Map(namedBodies(file, list, kind));

function namedBodies(file: YamlMap, list: string, kind: string): [name: string, body: YamlMap][] {
  const items: unknown[] = Array.isArray(file[list]) ? file[list] : [];
  return items.flatMap((item) => {
    if (!isYamlMap(item)) return [];
    const name = textOf(item["name"]);
    const body = item[kind];
    return name === null ? [] : [[name, isYamlMap(body) ? body : {}]];
  });
}

/** What decides, or would be run or read, first. */
const BY_FIELD: readonly (readonly [field: string, Authentication])[] = [
  ["exec", "exec"],
  ["auth-provider", "auth-provider"],
  ["tokenFile", "token-file"],
  ["token-file", "token-file"],
  ["token", "token"],
  ["client-certificate-data", "client-certificate"],
  ["client-certificate", "client-certificate-file"],
  ["client-key", "client-certificate-file"],
  ["username", "basic"],
  ["password", "basic"],
];

function authenticationOf(user: YamlMap): Authentication | null {
  return BY_FIELD.find(([field]) => (user[field] ?? "") !== "")?.[1] ?? null;
}

const SHOWN_CHARS_MAX = 1024;

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value.slice(0, SHOWN_CHARS_MAX) : null;
}

/** An error of any other kind is a defect, and no property of the file. */
function requireBridgeError(thrown: unknown): BridgeError {
  if (thrown instanceof BridgeError) return thrown;
  throw thrown;
}
