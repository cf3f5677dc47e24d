import { z } from "zod";
import { contextField, flagField } from "#clusters/cluster-fields.ts";
import type { ClusterInput } from "#clusters/cluster-input.ts";
import type { Cluster } from "#clusters/cluster.ts";
import { expiryWarnings } from "#clusters/credential-facts.ts";
import {
  AUTHENTICATIONS,
  type InspectedContext,
  type InspectedKubeconfig,
} from "#clusters/inspect-kubeconfig.ts";
import { dnsLabel } from "#clusters/prometheus-target.ts";
import type { DiagnoseCluster } from "#diagnose/cluster.ts";
import { toErrorBody, type BridgeError, type ErrorCode } from "#errors/error.ts";
import { requestSignal, type App, type RouteModule } from "#http/app-types.ts";
import { clusterInput, INPUT_ERRORS, kubeconfigField } from "#http/cluster-schemas.ts";
import { scrubTold } from "#http/errors.ts";
import { answerDiagnosis, DIAGNOSIS_NOTES, diagnosisContent } from "#http/diagnosis-answer.ts";
import { EVENT_NOTES } from "#http/event-schemas.ts";
import type { EventStreams } from "#http/event-stream.ts";
import { ACCESS_ERRORS, errorBody, errors, fields, json, timestamp } from "#http/schemas.ts";
import type { Clock } from "#lib/clock.ts";
import type { FoundServices } from "#onboard/find-services.ts";
import { DEFAULT_SERVICE_ACCOUNT, managedClusterManifest, toManifestText } from "#onboard/manifest.ts";
import { clusterDiagnosis } from "./diagnose.ts";

/** What is tried before a cluster is registered. Nothing of it is stored. */
export interface Onboarding {
  /** Default namespace of Prometheus. */
  prometheusNamespace: string;
  /** Connects nowhere. `validateCerts`: default VALIDATE_CERTS. Throws kubeconfig_invalid for an object that is no JSON. */
  inspect(
    kubeconfig: NonNullable<ClusterInput["kubeconfig"]>,
    validateCerts: boolean | undefined,
  ): InspectedKubeconfig;
  /** The cluster as POST /clusters would register it. Throws as that does. */
  draft(input: ClusterInput, signal: AbortSignal): Promise<Cluster>;
  /** Throws with the status 422 what keeps the Services from being searched. */
  findServices(cluster: Cluster, signal: AbortSignal): Promise<FoundServices>;
  diagnose: DiagnoseCluster;
}

// No route of these is under /clusters/: a cluster may have the id "inspect".

const inspectBody = fields({
  kubeconfig: kubeconfigField,
  validate_certs: flagField.exactOptional().meta({ description: "Default: VALIDATE_CERTS" }),
}).meta({ id: "KubeconfigToInspect" });

const problem = errorBody.nullable();

/** The answer of POST /onboard/inspect. */
export const inspection = z
  .object({
    contexts: z.array(
      z.object({
        context: z.string(),
        server: z
          .string()
          .nullable()
          .meta({ description: "Scheme, host and port of the API server; null: none can be read" }),
        authentication: z.enum(AUTHENTICATIONS).nullable(),
        namespace: z.string().nullable().meta({ description: "The context's own namespace" }),
        certificate_expires_at: timestamp.nullable(),
        token_expires_at: timestamp.nullable(),
        warnings: z.array(z.string()).meta({ description: "Credentials that end within 14 days" }),
        accepted: z.boolean(),
        problem: problem.meta({ description: "Why it is refused: the error that POST /clusters would have" }),
      }),
    ),
    current_context: z.string().nullable(),
    problem: problem.meta({ description: "Why no context of the file can be used" }),
  })
  .meta({
    id: "KubeconfigInspection",
    examples: [
      {
        contexts: [
          {
            context: "admin@edge-1",
            server: "https://edge-1.example.com:6443",
            authentication: "client-certificate",
            namespace: null,
            certificate_expires_at: "2026-06-01T12:00:00.000Z",
            token_expires_at: null,
            warnings: [],
            accepted: true,
            problem: null,
          },
        ],
        current_context: "admin@edge-1",
        problem: null,
      },
    ],
  });

const searchBody = fields({
  kubeconfig: kubeconfigField,
  context: contextField
    .exactOptional()
    .meta({ description: "Required when the kubeconfig has several contexts" }),
  validate_certs: flagField.exactOptional().meta({ description: "Default: VALIDATE_CERTS" }),
  namespace: dnsLabel.exactOptional().meta({
    description:
      "Where to search when the user may not list Services of all namespaces. Default: PROMETHEUS_NAMESPACE",
  }),
}).meta({ id: "ServiceSearch" });

/** The answer of POST /onboard/services. */
export const foundServices = z
  .object({
    searched: z.enum(["cluster", "namespace", "names"]).meta({
      description:
        "cluster: Services of all namespaces were listed. namespace: those of one. names: only well-known names in one were asked for",
    }),
    namespace: z.string().nullable().meta({ description: "The namespace that was searched; null: all" }),
    services_read: z.int(),
    complete: z.boolean().meta({ description: "false: there are more Services than were read or answered" }),
    note: z.string().nullable().meta({ description: "Why not everything was searched" }),
    services: z
      .array(
        z.object({
          namespace: z.string(),
          service: z.string(),
          port: z.int(),
          pod_port: z.int().nullable(),
          scheme: z.enum(["http", "https"]),
          reasons: z.array(z.string()).meta({ description: "Why it looks like a Prometheus" }),
        }),
      )
      .meta({ description: "The likeliest first; the fields of `prometheus` to register. At most 50" }),
  })
  .meta({
    id: "FoundServices",
    examples: [
      {
        searched: "cluster",
        namespace: null,
        services_read: 42,
        complete: true,
        note: null,
        services: [
          {
            namespace: "monitoring",
            service: "prometheus-operated",
            port: 9090,
            pod_port: null,
            scheme: "http",
            reasons: ["the label operated-prometheus=true", "the name prometheus-operated", "the port 9090"],
          },
        ],
      },
    ],
  });

const DRAFT_ERRORS = [...INPUT_ERRORS, ...ACCESS_ERRORS] as const satisfies ErrorCode[];

/** /onboard/*: everything on the way to POST /clusters. */
export function onboardRoutes(
  onboarding: Onboarding,
  clock: Clock,
  streams: EventStreams,
  stopping: AbortSignal,
): RouteModule {
  return (app) => {
    addInspect(app, onboarding, clock);
    addSearch(app, onboarding, stopping);
    addDiagnose(app, onboarding, streams, stopping);
    addManifest(app, onboarding);
  };
}

function addInspect(app: App, onboarding: Onboarding, clock: Clock): void {
  app.route({
    method: "POST",
    url: "/onboard/inspect",
    config: { scope: "admin", audit: "kubeconfig.inspect" },
    schema: {
      tags: ["onboard"],
      summary: "Which contexts of a kubeconfig are accepted",
      description:
        "Judges each context by the rules of POST /clusters. Connects nowhere, resolves no name, stores nothing. Answers 200 also when everything is refused; `problem` says why. The answer has nothing secret.",
      body: inspectBody,
      response: {
        200: json("Each context with its judgement", inspection),
        ...errors(
          "request_invalid",
          "kubeconfig_invalid",
          "body_too_large",
          "unsupported_media_type",
          ...ACCESS_ERRORS,
        ),
      },
    },
    handler: (request) => {
      const { kubeconfig, validate_certs: validateCerts } = request.body;
      const { contexts, currentContext, problem } = onboarding.inspect(kubeconfig, validateCerts);
      return {
        contexts: contexts.map((context) => toContextAnswer(context, clock.now())),
        current_context: currentContext,
        problem: toProblem(problem),
      };
    },
  });
}

type Inspection = z.infer<typeof inspection>;

function toContextAnswer(
  { facts, problem, ...described }: InspectedContext,
  nowMs: number,
): Inspection["contexts"][number] {
  return {
    ...described,
    certificate_expires_at: facts?.certificate_expires_at ?? null,
    token_expires_at: facts?.token_expires_at ?? null,
    warnings: facts ? expiryWarnings({ facts }, nowMs) : [],
    accepted: problem === undefined,
    problem: toProblem(problem),
  };
}

function toProblem(error: BridgeError | undefined): Inspection["problem"] {
  return error ? scrubTold(toErrorBody(error)) : null;
}

function addSearch(app: App, onboarding: Onboarding, stopping: AbortSignal): void {
  app.route({
    method: "POST",
    url: "/onboard/services",
    config: { scope: "admin", audit: "cluster.find_services" },
    schema: {
      tags: ["onboard"],
      summary: "Which Services of a cluster look like a Prometheus",
      description:
        "Connects to the API server as the kubeconfig's user and lists Services: of all namespaces, or if the user may not, of one; if the user may not list Services at all, it asks for well-known names in that namespace. Stores nothing. If the cluster can't be asked, the status is 422 and the code names the failure (cluster_*). May take twice METRICS_COLLECTION_TIMEOUT.",
      body: searchBody,
      response: {
        200: json("The Services, the likeliest first", foundServices),
        ...errors(...DRAFT_ERRORS),
      },
    },
    handler: async (request, reply) => {
      const { namespace, ...given } = request.body;
      const signal = requestSignal(reply, stopping);
      const prometheus = namespace === undefined ? {} : { prometheus: { namespace } };
      // Neither is sent anywhere.
      const cluster = await onboarding.draft(
        { name: "new", platform: "new", ...given, ...prometheus },
        signal,
      );
      return await onboarding.findServices(cluster, signal);
    },
  });
}

function addDiagnose(app: App, onboarding: Onboarding, streams: EventStreams, stopping: AbortSignal): void {
  app.route({
    method: "POST",
    url: "/onboard/diagnose",
    config: { scope: "admin", audit: "cluster.diagnose" },
    schema: {
      tags: ["onboard"],
      summary: "Checks each step of a collection of a cluster that is not registered",
      description: `The body of POST /clusters, and the steps of POST /clusters/{id}/diagnose. Stores nothing. Without an id, the answer has a made-up one.\n\n${DIAGNOSIS_NOTES} ${EVENT_NOTES}`,
      body: clusterInput,
      response: {
        200: { description: "The result of each step", content: diagnosisContent(clusterDiagnosis) },
        ...errors(
          ...DRAFT_ERRORS,
          "cluster_exists",
          "diagnosis_busy",
          "too_many_streams",
          "state_unavailable",
          "state_record_damaged",
        ),
      },
    },
    handler: async (request, reply) => {
      const { body } = request;
      if (body.id !== undefined) request.auditCluster = body.id;
      return await answerDiagnosis({ request, reply, streams, stopping }, async (signal, onStep) => {
        const cluster = await onboarding.draft(body, signal);
        const diagnosis = await onboarding.diagnose(cluster, signal, onStep);
        return { ...diagnosis, cluster_id: body.id ?? diagnosis.cluster_id };
      });
    },
  });
}

function addManifest(app: App, { prometheusNamespace }: Onboarding): void {
  app.route({
    method: "GET",
    url: "/onboard/manifest",
    config: { scope: "read" },
    schema: {
      tags: ["onboard"],
      summary: "A ServiceAccount with the least rights that a collection needs",
      description: "For `kubectl apply -f`, in the managed cluster. Both namespaces must exist.",
      querystring: fields({
        prometheus_namespace: dnsLabel
          .exactOptional()
          .meta({ description: "Where Prometheus runs. Default: PROMETHEUS_NAMESPACE" }),
        namespace: dnsLabel
          .exactOptional()
          .meta({ description: "Of the ServiceAccount. Default: Prometheus'" }),
        service_account: dnsLabel.default(DEFAULT_SERVICE_ACCOUNT),
      }),
      response: {
        200: {
          description: "Kubernetes objects as YAML",
          content: { "text/plain": { schema: z.string() } },
        },
        ...errors("request_invalid", ...ACCESS_ERRORS),
      },
    },
    handler: async (request, reply) => {
      const { service_account: serviceAccount, ...given } = request.query;
      const namespaceOfPrometheus = given.prometheus_namespace ?? prometheusNamespace;
      const objects = managedClusterManifest({
        prometheusNamespace: namespaceOfPrometheus,
        namespace: given.namespace ?? namespaceOfPrometheus,
        serviceAccount,
      });
      return await reply.type("text/plain; charset=utf-8").send(toManifestText(objects));
    },
  });
}
