import type { Cluster, CredentialFacts } from "#clusters/cluster.ts";
import { expiryWarnings, toCredentialFacts } from "#clusters/credential-facts.ts";
import type { OpenedCredentials } from "#clusters/open-credentials.ts";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { readKubernetesVersion, whoAmI } from "#tunnel/access.ts";
import type { ApiServerGuard } from "#tunnel/api-server-guard.ts";
import { createKubeClient, type KubeClient, type KubeConnection } from "#tunnel/kube-client.ts";
import { createServerProbe, type ServerProbe } from "#tunnel/probe.ts";
import { API_SERVER_CERTIFICATE, judgeCertificate } from "./certificate.ts";
import { notNeeded, passed, warning, type Finding, type Step, type StepRunner } from "./step-runner.ts";

export interface ApiServerDeps {
  clock: Clock;
  /** A cluster's credentials in the clear, with the guard that its API server's address must pass. */
  open(cluster: Cluster): Promise<OpenedCredentials & { guard?: ApiServerGuard }>;
}

/** For the steps after this one. */
export interface OpenedCluster extends OpenedCredentials {
  kube: KubeClient;
  guard?: ApiServerGuard;
}

interface Opened extends OpenedCluster {
  probe: ServerProbe | undefined;
  /** The address is refused: the step for the address reports it. */
  refusal: BridgeError | undefined;
}

interface ApiServerSteps {
  credentials: Step<OpenedCluster>;
  /** The server's version, "v1.36.3"; empty when it does not say. */
  authentication: Step<string>;
}

/** From the credentials to an API server that knows who asks. */
export function apiServerSteps(
  runner: StepRunner,
  cluster: Cluster,
  deps: ApiServerDeps,
  settings: { timeoutMs: number },
): ApiServerSteps {
  const { clock } = deps;
  const credentials = runner.step<Opened>("credentials", "Credentials are readable", [], async (signal) => {
    const opened = await deps.open(cluster);
    const kube = createKubeClient({ ...opened, clock }, settings);
    const { kubeConfig } = opened;
    const facts = toCredentialFacts(kubeConfig, opened.prometheus);
    const connection = await connectionOf(kube, signal);
    const isProxied = Boolean(kubeConfig.getCurrentCluster()?.proxyUrl);
    const refusal = connection instanceof BridgeError ? connection : undefined;
    const probe =
      isProxied || connection instanceof BridgeError
        ? undefined
        : createServerProbe(connection, { clock, ...settings });
    const value = { ...opened, kube, probe, refusal };
    const details = { ...facts };
    const [expiry] = expiryWarnings({ facts }, clock.now());
    if (expiry === undefined) return passed(value, `${nameOfUser(facts.user)} for ${facts.server}`, details);
    const hint = "Register a new kubeconfig; `npm run kubeconfig` makes one.";
    return warning(value, expiry, { code: "cluster_unauthorized", hint, details });
  });

  const withProbe = async <T>(
    run: (probe: ServerProbe) => Promise<Finding<T>>,
  ): Promise<Finding<T | undefined>> => {
    const { probe, refusal } = credentials.value();
    if (refusal) throw refusal;
    return probe ? await run(probe) : notNeeded(undefined, "the kubeconfig's proxy does this");
  };
  const dns = runner.step("dns", "The API server's name resolves", [credentials], (signal) =>
    withProbe(async (probe) => {
      const { addresses, families } = await probe.resolve(signal);
      const what = addresses === 1 ? "address" : "addresses";
      return passed(undefined, `${probe.host} has ${addresses} ${what} (${families.join(", ")})`);
    }),
  );
  const tcp = runner.step("tcp", "The API server accepts connections", [dns], (signal) =>
    withProbe(async (probe) => {
      await probe.connect(signal);
      return passed(undefined, `${probe.host}:${probe.port} accepts TCP connections`);
    }),
  );
  const tls = runner.step("tls", "The API server's certificate is trusted", [tcp], (signal) =>
    withProbe(async (probe) => {
      const certificate = await probe.handshake(signal);
      return judgeCertificate(API_SERVER_CERTIFICATE, certificate, cluster.validateCerts, clock.now());
    }),
  );
  const authentication = runner.step(
    "authentication",
    "The API server knows the user",
    [credentials, tls],
    async (signal) => {
      const { kube } = credentials.value();
      const user = await whoAmI(kube, signal);
      const version = await readKubernetesVersion(kube, signal);
      const message = user === undefined ? "the credentials are accepted" : `known as ${user}`;
      return passed(version, message, { kubernetes_version: version, ...(user ? { user } : {}) });
    },
  );
  return { credentials, authentication };
}

/** The refusal of the server's address is a value here; it belongs to a later step. */
async function connectionOf(kube: KubeClient, signal: AbortSignal): Promise<KubeConnection | BridgeError> {
  try {
    return await kube.connection("/version", {}, signal);
  } catch (error) {
    if (error instanceof BridgeError && error.code === "api_server_refused") return error;
    throw error;
  }
}

function nameOfUser(user: CredentialFacts["user"]): string {
  if (user === "token") return "a token";
  return user === "client-certificate" ? "a client certificate" : "credentials of a plugin or file";
}
