import type { Cluster } from "#clusters/cluster.ts";
import { BridgeError } from "#errors/error.ts";
import type { Transport } from "#otlp/transport.ts";
import { apiServerSteps, type ApiServerDeps } from "./api-server-steps.ts";
import { collectorStep } from "./collector-step.ts";
import { directSteps, type DirectDeps } from "./direct-steps.ts";
import { prometheusSteps, type PrometheusDeps, type PrometheusSettings } from "./prometheus-steps.ts";
import { rightSteps } from "./right-steps.ts";
import { createStepRunner, warning, type Diagnosis, type OnStep, type StepRunner } from "./step-runner.ts";

export interface ClusterDiagnosis extends Diagnosis {
  cluster_id: string;
  cluster_name: string;
}

/**
 * Takes every step of a collection of the cluster, but stores nothing. A step that fails is part of the answer. Throws the signal's reason, and
 * diagnosis_busy when as many run already as may at once. `onStep` is told of each step as it happens.
 */
export type DiagnoseCluster = (
  cluster: Cluster,
  signal: AbortSignal,
  onStep?: OnStep,
) => Promise<ClusterDiagnosis>;

export interface ClusterDiagnosisDeps extends ApiServerDeps, DirectDeps, PrometheusDeps {
  /** One attempt each. Absent: the Collector is not asked. */
  transport?: Transport;
}

export interface ClusterDiagnosisSettings extends Omit<PrometheusSettings, "timeoutMs"> {
  /** For one step. */
  stepMs: number;
}

/** The share of a request in its step's time: a request that times out must still be able to report what it waited for. */
export function requestMs(stepMs: number): number {
  return Math.ceil(stepMs * REQUEST_SHARE);
}

const REQUEST_SHARE = 0.9;

/** Diagnoses at once, of any clusters. */
const DIAGNOSES_MAX = 4;
/** The longest chain of steps that each may wait for its whole time. */
const STEPS_IN_TURN = 4;

export function createDiagnoseCluster(
  deps: ClusterDiagnosisDeps,
  settings: ClusterDiagnosisSettings,
): DiagnoseCluster {
  let running = 0;
  const requests = { ...settings, timeoutMs: requestMs(settings.stepMs) };
  const diagnose: DiagnoseCluster = async (cluster, signal, onStep) => {
    const limits = { stepMs: settings.stepMs, totalMs: settings.stepMs * STEPS_IN_TURN };
    const runner = createStepRunner(deps.clock, limits, signal, onStep);
    if (!cluster.enabled) disabledStep(runner);
    const isDirect = cluster.prometheus.url !== undefined;
    const steps = isDirect ? directSteps : tunnelSteps;
    const prometheus = steps(runner, cluster, deps, requests);
    collectorStep(runner, deps.transport);
    try {
      return { cluster_id: cluster.id, cluster_name: cluster.name, ...(await runner.finish()) };
    } finally {
      await prometheus.close();
    }
  };
  return async (cluster, signal, onStep) => {
    if (running >= DIAGNOSES_MAX) throw new BridgeError("diagnosis_busy", `${running} diagnoses run already`);
    running++;
    try {
      return await diagnose(cluster, signal, onStep);
    } finally {
      running--;
    }
  };
}

function tunnelSteps(
  runner: StepRunner,
  cluster: Cluster,
  deps: ClusterDiagnosisDeps,
  settings: PrometheusSettings,
): ReturnType<typeof prometheusSteps> {
  const { credentials, authentication } = apiServerSteps(runner, cluster, deps, settings);
  const rights = rightSteps(runner, cluster, { credentials, authentication });
  return prometheusSteps(runner, cluster, { credentials, authentication, rights }, deps, settings);
}

/** Everything else may pass, and still nothing is collected. */
function disabledStep(runner: StepRunner): void {
  runner.step("enabled", "Rounds collect the cluster", [], () =>
    Promise.resolve(
      warning(undefined, "the cluster is disabled: rounds leave it out", {
        hint: 'Enable it: PATCH /clusters/{id} with {"enabled": true}, or `enabled: true` in CLUSTERS_FILE.',
      }),
    ),
  );
}
