import type { Cluster, PrometheusCredentials } from "#clusters/cluster.ts";
import { expiryWarnings, toDirectFacts } from "#clusters/credential-facts.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import { withDirectRemedy } from "#prometheus/direct-remedies.ts";
import type { ApiServerGuard } from "#tunnel/api-server-guard.ts";
import { openDirect, type DirectTarget } from "#tunnel/direct.ts";
import type { Tunnel } from "#tunnel/dispatcher.ts";
import { createDirectProbe, type ServerProbe } from "#tunnel/probe.ts";
import { judgeCertificate, PROMETHEUS_CERTIFICATE } from "./certificate.ts";
import { answerSteps, judgeReady, type PrometheusDeps, type PrometheusSettings } from "./prometheus-steps.ts";
import { notNeeded, passed, warning, type Finding, type Step, type StepRunner } from "./step-runner.ts";

/** A cluster without a tunnel: its server, with the credentials in the clear and the guard that its address must pass. */
interface DirectCluster {
  target: DirectTarget;
  prometheus?: PrometheusCredentials;
  guard?: ApiServerGuard;
}

export interface DirectDeps extends PrometheusDeps {
  openDirect(cluster: Cluster): Promise<DirectCluster>;
}

/** The steps of a cluster without a tunnel, from its credentials to a query of each group. `close` ends the connections, whatever became of the steps. */
export function directSteps(
  runner: StepRunner,
  cluster: Cluster,
  deps: DirectDeps,
  settings: PrometheusSettings,
): { close(): Promise<void> } {
  const { clock, logger } = deps;
  let opened: Tunnel | undefined;
  const credentials = runner.step<DirectCluster>("credentials", "Credentials are readable", [], async () =>
    judgeCredentials(await deps.openDirect(cluster), clock.now()),
  );
  const reached = connectionSteps(runner, cluster, credentials, deps, settings);
  const accepted = runner.step<PrometheusClient>(
    "authentication",
    "Prometheus accepts the credentials",
    [credentials, reached],
    async (signal) => {
      const { target, guard, prometheus } = credentials.value();
      const parts = { clock, logger, ...(guard ? { guard } : {}) };
      opened = await openDirect(parts, { target, lanes: 1, timeoutMs: settings.timeoutMs }, signal);
      const client = deps.clientOf(opened, cluster, prometheus, settings.timeoutMs);
      await client.now(signal);
      const isNothing = prometheus === undefined;
      return passed(client, isNothing ? "it answers without credentials" : "it answers a query");
    },
  );
  const hint =
    "A backend that is compatible with Prometheus may lack it; if it is Prometheus, check the path of prometheus.url.";
  const ready = runner.step<PrometheusClient>(
    "prometheus_ready",
    "Prometheus is ready",
    [accepted],
    async (signal) => await judgeReady(accepted.value(), hint, signal),
  );
  answerSteps(runner, ready, clock, settings);
  return { close: async () => await opened?.close() };
}

function judgeCredentials(opened: DirectCluster, nowMs: number): Finding<DirectCluster> {
  const facts = toDirectFacts(opened.prometheus);
  const [expiry] = expiryWarnings({ facts }, nowMs);
  const details = { ...facts };
  if (expiry === undefined) return passed(opened, `${nameOf(opened.prometheus)} for prometheus.url`, details);
  const hint = "Give the cluster new credentials for its Prometheus.";
  return warning(opened, expiry, { code: "prometheus_unauthorized", hint, details });
}

const NAMES = {
  bearer: "a token",
  basic: "a user name and a password",
  sigv4: "AWS keys",
  none: "no credentials",
} as const;

function nameOf(prometheus: PrometheusCredentials | undefined): string {
  if (!prometheus) return NAMES.none;
  const { kind, headers, clientCertificate } = prometheus;
  const names = [
    ...(kind === "none" ? [] : [NAMES[kind]]),
    ...(headers ? ["headers"] : []),
    ...(clientCertificate ? ["a client certificate"] : []),
  ];
  return names.join(", ");
}

/** From the name to the certificate. The last of the steps. */
function connectionSteps(
  runner: StepRunner,
  cluster: Cluster,
  credentials: Step<DirectCluster>,
  { clock }: DirectDeps,
  { timeoutMs }: PrometheusSettings,
): Step<undefined> {
  const withProbe = async <T>(run: (probe: ServerProbe) => Promise<Finding<T>>): Promise<Finding<T>> => {
    try {
      const { target, guard } = credentials.value();
      return await run(createDirectProbe(target, guard, { clock, timeoutMs }));
    } catch (error) {
      throw withDirectRemedy(error);
    }
  };
  const dns = runner.step("dns", "The name of Prometheus' server resolves", [credentials], (signal) =>
    withProbe(async (probe) => {
      const { addresses, families } = await probe.resolve(signal);
      const what = addresses === 1 ? "address" : "addresses";
      return passed(undefined, `${probe.host} has ${addresses} ${what} (${families.join(", ")})`);
    }),
  );
  const tcp = runner.step("tcp", "Prometheus' server accepts connections", [dns], (signal) =>
    withProbe(async (probe) => {
      await probe.connect(signal);
      return passed(undefined, `${probe.host}:${probe.port} accepts TCP connections`);
    }),
  );
  return runner.step<undefined>("tls", "Prometheus' certificate is trusted", [tcp], async (signal) => {
    if (cluster.prometheus.scheme === "http") return notNeeded(undefined, "prometheus.url is http://");
    return await withProbe(async (probe) => {
      const certificate = await probe.handshake(signal);
      return judgeCertificate(PROMETHEUS_CERTIFICATE, certificate, cluster.validateCerts, clock.now());
    });
  });
}
