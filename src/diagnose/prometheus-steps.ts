import type { Cluster, PrometheusCredentials } from "#clusters/cluster.ts";
import { shardsByName } from "#clusters/pod-names.ts";
import { toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import { TRANSPORT_REASONS } from "#lib/transport-reasons.ts";
import type { Logger } from "#telemetry/logger.ts";
import { openTunnel, type Tunnel } from "#tunnel/dispatcher.ts";
import { openPortForward } from "#tunnel/port-forward.ts";
import { findReadyPods, findService, type FoundService, type PodTarget } from "#tunnel/target.ts";
import type { OpenedCluster } from "./api-server-steps.ts";
import { passed, warning, type Finding, type Step, type StepRunner } from "./step-runner.ts";

export interface PrometheusDeps {
  clock: Clock;
  logger: Logger;
  /** A client of the cluster's Prometheus, with the cluster's credentials for it. */
  clientOf(
    tunnel: Tunnel,
    cluster: Cluster,
    credentials: PrometheusCredentials | undefined,
    timeoutMs: number,
  ): PrometheusClient;
}

export interface PrometheusSettings {
  /** For one request. */
  timeoutMs: number;
  lagMs: number;
  queries: readonly Query[];
}

interface Before {
  credentials: Step<OpenedCluster>;
  authentication: Step<string>;
  rights: ReadonlyMap<string, Step<undefined>>;
}

const PING_INTERVAL_MS = 15_000;
/** As a collection tolerates it. */
const SKEW_MS_MAX = 30_000;
/** Time range of the query for a group: longer than any usual scrape interval. */
const WINDOW_MS = 300_000;
/** Queries of a group that are tried until one has samples. */
const QUERIES_OF_GROUP_MAX = 3;
const POD_NAMES_MAX = 10;
const LABELS_SHOWN_MAX = 10;

/** From the Service to a query of each group. `close` ends the tunnel, whatever became of the steps. */
export function prometheusSteps(
  runner: StepRunner,
  cluster: Cluster,
  before: Before,
  deps: PrometheusDeps,
  settings: PrometheusSettings,
): { close(): Promise<void> } {
  let tunnel: Tunnel | undefined;
  const { target, pods } = serviceSteps(runner, cluster, before);
  const forward = runner.step<PrometheusClient>(
    "port_forward",
    "A port-forward opens",
    [pods, ...rightsOf(before, "get pods/portforward", "create pods/portforward")],
    async (signal) => {
      const opened = before.credentials.value();
      const { podName, podUid, port } = pods.value();
      await tryPortForward(opened, { namespace: target.namespace, podName, port }, deps, settings, signal);
      tunnel = await openTunnel(
        { ...opened, clock: deps.clock, logger: deps.logger },
        { clusterId: cluster.id, target, lanes: 1, timeoutMs: settings.timeoutMs, pinnedPodUid: podUid },
        signal,
      );
      const client = deps.clientOf(tunnel, cluster, opened.prometheus, settings.timeoutMs);
      return passed(client, `to port ${port} of Pod ${podName}`, { pod: podName, port });
    },
  );
  const hint =
    "A backend that is compatible with Prometheus may lack it; if it is Prometheus, check prometheus.path_prefix.";
  const ready = runner.step<PrometheusClient>(
    "prometheus_ready",
    "Prometheus is ready",
    [forward],
    async (signal) => await judgeReady(forward.value(), hint, signal),
  );
  answerSteps(runner, ready, deps.clock, settings);
  return { close: async () => await tunnel?.close() };
}

/** `hint`: why it may lack the endpoint. */
export async function judgeReady(
  client: PrometheusClient,
  hint: string,
  signal: AbortSignal,
): Promise<Finding<PrometheusClient>> {
  const isReady = await client.ready(signal);
  if (isReady) return passed(client, "it says so at /-/ready");
  return warning(client, "what answers has no /-/ready", { hint });
}

/** What a Prometheus that is ready tells of itself, and a query of each group. */
export function answerSteps(
  runner: StepRunner,
  ready: Step<PrometheusClient>,
  clock: Clock,
  settings: PrometheusSettings,
): void {
  clientSteps(runner, ready);
  querySteps(runner, ready, clock, settings);
}

function rightsOf({ rights }: Before, ...names: string[]): Step<undefined>[] {
  return names.flatMap((name) => rights.get(name) ?? []);
}

function serviceSteps(runner: StepRunner, cluster: Cluster, before: Before) {
  const target = cluster.prometheus;
  const label = `${target.namespace}/${target.service}`;
  const service = runner.step<FoundService>(
    "service",
    "Prometheus' Service is there",
    [before.credentials, ...rightsOf(before, "get services")],
    async (signal) => {
      const found = await findService(before.credentials.value().kube, target, signal);
      const { podPort, port } = target;
      return passed(
        found,
        podPort === undefined
          ? `${label} has the port ${port}`
          : `${label} is there; prometheus.pod_port is ${podPort}`,
      );
    },
  );
  const pods = runner.step<PodTarget>(
    "pods",
    "A Pod of Prometheus is ready",
    [service, ...rightsOf(before, "list endpointslices")],
    async (signal) => {
      const { kube } = before.credentials.value();
      const found = await findReadyPods(kube, target, service.value(), signal);
      const names = found.slice(0, POD_NAMES_MAX).map(({ podName }) => podName);
      const [first] = found;
      const shards = shardsByName(
        found.map(({ podName }) => podName),
        first!.podName,
      );
      const ofShards = shards ? `; by their names ${shards.numbers.length} shards of ${shards.base}` : "";
      return passed(first!, `${found.length} ready: ${names.join(", ")}${ofShards}`, {
        ready: found.length,
        ...(shards ? { shards: shards.numbers.length } : {}),
      });
    },
  );
  return { target, pods };
}

async function tryPortForward(
  { kube }: OpenedCluster,
  pod: { namespace: string; podName: string; port: number },
  { clock }: PrometheusDeps,
  { timeoutMs }: PrometheusSettings,
  signal: AbortSignal,
): Promise<void> {
  const settings = { ...pod, timeoutMs, pingIntervalMs: PING_INTERVAL_MS };
  const stream = await openPortForward({ kube, clock }, settings, signal);
  stream.on("error", () => {});
  stream.destroy();
}

function clientSteps(runner: StepRunner, ready: Step<PrometheusClient>): void {
  runner.step("prometheus_version", "Prometheus tells its version", [ready], async (signal) => {
    try {
      const version = await ready.value().version(signal);
      return passed(undefined, version || "it does not say", version ? { version } : {});
    } catch (error) {
      return degraded(error, signal, "nothing depends on it");
    }
  });
  runner.step("prometheus_metadata", "Prometheus tells the metrics' types", [ready], async (signal) => {
    try {
      const metadata = await ready.value().metadata(signal);
      if (metadata.size > 0) return passed(undefined, `of ${metadata.size} families`);
      return warning(undefined, "of none: types are guessed from the metrics' names");
    } catch (error) {
      return degraded(error, signal, "types are guessed from the metrics' names");
    }
  });
  runner.step("samples_by", "How samples are read", [ready], (signal) =>
    judgeTransport(ready.value(), signal),
  );
}

/** How plain selectors are read, and what to do where stale markers can't be seen although the source has them. */
async function judgeTransport(client: PrometheusClient, signal: AbortSignal): Promise<Finding<undefined>> {
  const known = await client.prepareReads(signal);
  if (!known) return passed(undefined, "by the query API");
  const { transport, reason, external_labels: labels = [] } = known;
  const { text, remedy } = TRANSPORT_REASONS[reason];
  const details = { transport, reason };
  if (transport === "remote_read") {
    const names = labels.slice(0, LABELS_SHOWN_MAX).map(({ name }) => name);
    const without = names.length > 0 ? `; without its external_labels ${names.join(", ")}` : "";
    return passed(undefined, `by remote read, with stale markers: ${text}${without}`, details);
  }
  const words = `by the query API, which hides stale markers: ${text}`;
  if (remedy === undefined) return passed(undefined, words, details);
  return warning(undefined, words, { hint: remedy, details });
}

/** The loss for a collection. */
function degraded(error: unknown, signal: AbortSignal, loss: string): Finding<undefined> {
  if (signal.aborted) throw signal.reason;
  const { code, message, hint } = toBridgeError(error);
  return warning(undefined, `${message}; ${loss}`, { code, hint });
}

function querySteps(
  runner: StepRunner,
  ready: Step<PrometheusClient>,
  clock: Clock,
  settings: PrometheusSettings,
): void {
  const skew = runner.step<number>("clock_skew", "The clocks agree", [ready], async (signal) => {
    const now = await ready.value().now(signal);
    const skewMs = now - clock.now();
    const text = `Prometheus' clock is ${(Math.abs(skewMs) / 1000).toFixed(1)} s ${skewMs > 0 ? "ahead of" : "behind"} this one`;
    const details = { skew_seconds: Math.round(skewMs) / 1000 };
    if (Math.abs(skewMs) < SKEW_MS_MAX) return passed(now, text, details);
    return warning(now, text, { hint: "Set both clocks by NTP: windows follow Prometheus' clock.", details });
  });
  for (const [group, queries] of byGroup(settings.queries)) {
    runner.step(`query_${group}`, `Metrics of the group ${group}`, [ready, skew], async (signal) =>
      lookForGroup(ready.value(), group, queries, skew.value() - settings.lagMs, signal),
    );
  }
}

function byGroup(queries: readonly Query[]): Map<string, Query[]> {
  const groups = new Map<string, Query[]>();
  for (const query of queries) groups.set(query.group, [...(groups.get(query.group) ?? []), query]);
  return groups;
}

/** An absent group is no failure: a cluster without GPUs has none of their metrics. */
async function lookForGroup(
  client: PrometheusClient,
  group: string,
  queries: readonly Query[],
  toMs: number,
  signal: AbortSignal,
): Promise<Finding<undefined>> {
  const tried = queries.slice(0, QUERIES_OF_GROUP_MAX);
  for (const query of tried) {
    const sink = { series: () => {} };
    const window = { fromMs: toMs - WINDOW_MS, toMs };
    const read = await client.read(query, window, { sink, pause: () => undefined }, signal);
    if (read.samples === 0) continue;
    const details = { state: "present", query: query.name, series: read.series, samples: read.samples };
    return passed(undefined, `present: ${query.name} has ${read.series} series`, details);
  }
  const names = tried.map(({ name }) => name);
  const text = `absent: no sample of ${names.join(", ")} in ${WINDOW_MS / 60_000} minutes`;
  return passed(undefined, text, { state: "absent", group });
}
