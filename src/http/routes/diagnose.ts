import { z } from "zod";
import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";
import type { DiagnoseCluster } from "#diagnose/cluster.ts";
import type { DiagnoseStorage } from "#diagnose/storage.ts";
import { BridgeError } from "#errors/error.ts";
import { requestSignal, type RouteModule } from "#http/app-types.ts";
import {
  answerDiagnosis,
  DIAGNOSIS_NOTES,
  diagnosisContent,
  diagnosisFields,
  scrubDiagnosis,
} from "#http/diagnosis-answer.ts";
import { EVENT_NOTES } from "#http/event-schemas.ts";
import type { EventStreams } from "#http/event-stream.ts";
import { ACCESS_ERRORS, clusterId, errors, fields, json } from "#http/schemas.ts";

export const clusterDiagnosis = z
  .object({ cluster_id: clusterId, cluster_name: z.string(), ...diagnosisFields })
  .meta({
    id: "ClusterDiagnosis",
    examples: [
      {
        cluster_id: "edge-1",
        cluster_name: "Edge 1",
        status: "failed",
        started_at: "2025-06-01T12:00:00.000Z",
        duration_ms: 210,
        steps: [
          {
            step: "authentication",
            title: "The API server knows the user",
            status: "passed",
            duration_ms: 24,
            message: "known as system:serviceaccount:bud-system:budcluster-metrics-reader",
            details: { kubernetes_version: "v1.36.3" },
          },
          {
            step: "right_get_services",
            title: "Right to get services",
            status: "failed",
            duration_ms: 8,
            code: "cluster_forbidden",
            message: "may not get services in namespace bud-system",
            hint: 'Grant it by the rule {apiGroups: [""], resources: [services], verbs: [get]} of a Role in namespace bud-system (docs/rbac/managed-cluster.yaml has all).',
          },
          {
            step: "service",
            title: "Prometheus' Service is there",
            status: "skipped",
            duration_ms: 0,
            message: 'it needs "Right to get services", which did not pass',
          },
        ],
      },
    ],
  });

const storageDiagnosis = z.object({ database: z.string(), ...diagnosisFields }).meta({
  id: "StorageDiagnosis",
  examples: [
    {
      database: "metrics",
      status: "passed",
      started_at: "2025-06-01T12:00:00.000Z",
      duration_ms: 90,
      steps: [
        {
          step: "newest_sample",
          title: "Samples arrive",
          status: "passed",
          duration_ms: 12,
          message: "the newest is 95 s old",
          details: { newest: "2025-06-01T11:58:25.000Z", age_seconds: 95 },
        },
      ],
    },
  ],
});

/** POST /clusters/{id}/diagnose. Answers 200 also when steps failed; a client that goes away ends it. */
export function diagnoseRoutes(
  registry: ClusterRegistry,
  diagnose: DiagnoseCluster,
  streams: EventStreams,
  stopping: AbortSignal,
): RouteModule {
  return (app) => {
    app.route({
      method: "POST",
      url: "/clusters/:id/diagnose",
      config: { scope: "admin", audit: "cluster.diagnose" },
      schema: {
        tags: ["clusters"],
        summary: "Checks each step of a collection",
        description: `Credentials, DNS, TCP, TLS, authentication, each required right, Service, Pods, port-forward, Prometheus, a query of each group, the Collector. Nothing is stored. A step is skipped when a step that it depends on failed. Each step may take METRICS_COLLECTION_TIMEOUT, the whole diagnosis four times that. No body.\n\n${DIAGNOSIS_NOTES} ${EVENT_NOTES}`,
        params: fields({ id: clusterId }),
        response: {
          200: { description: "The result of each step", content: diagnosisContent(clusterDiagnosis) },
          ...errors(
            "request_invalid",
            "cluster_not_found",
            "diagnosis_busy",
            "too_many_streams",
            "state_unavailable",
            "state_record_damaged",
            ...ACCESS_ERRORS,
          ),
        },
      },
      handler: async (request, reply) => {
        const cluster = await findCluster(registry, request.params.id);
        return await answerDiagnosis({ request, reply, streams, stopping }, (signal, onStep) =>
          diagnose(cluster, signal, onStep),
        );
      },
    });
  };
}

async function findCluster(registry: ClusterRegistry, id: string): Promise<Cluster> {
  const cluster = (await registry.list()).find((each) => each.id === id);
  if (!cluster) throw new BridgeError("cluster_not_found", `no cluster has the id "${id}"`);
  return cluster;
}

/** GET /diagnose of the query role. */
export function storageDiagnosisRoute(diagnose: DiagnoseStorage, stopping: AbortSignal): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/diagnose",
      config: { scope: "read" },
      schema: {
        tags: ["cluster-metrics"],
        summary: "Checks everything that queries need from ClickHouse",
        description:
          "Connection, user, version, database, layout of each table and view, migrations, grants, newest sample, roll-ups. Changes nothing.",
        response: {
          200: json("The result of each step", storageDiagnosis),
          ...errors("diagnosis_busy", ...ACCESS_ERRORS),
        },
      },
      handler: async (_request, reply) => scrubDiagnosis(await diagnose(requestSignal(reply, stopping))),
    });
  };
}
