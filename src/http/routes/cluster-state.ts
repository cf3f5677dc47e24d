import { z } from "zod";
import type { ClusterState } from "#query/state/cluster-state.ts";
import { POD_SORTS } from "#query/state/pod-state.ts";
import { PODS_DEFAULT, PODS_MAX } from "#query/state/pods.ts";
import type { AnswerQuery } from "#http/answer-query.ts";
import type { RouteModule } from "#http/app-types.ts";
import { addClusterRoute } from "#http/cluster-route.ts";
import { gpusAnswer } from "#http/gpu-schemas.ts";
import { healthAnswer, nodesAnswer, podsAnswer, summaryAnswer } from "#http/state-schemas.ts";
import { rangeFields, toRangeMs } from "#http/time-input.ts";

const CURSOR_CHARS_MAX = 4096;
const NAMESPACE_CHARS_MAX = 253;

/** The window of an answer. */
const range = (defaultLength: string, longest: string) =>
  rangeFields(
    `Default: ${defaultLength} before \`to\`, at most ${longest}`,
    "Default: where the stored data ends",
  );

const stateRange = range("15 minutes", "24 hours");

const podFields = {
  ...stateRange,
  namespace: z
    .string()
    .min(1)
    .max(NAMESPACE_CHARS_MAX)
    .optional()
    .meta({ description: "Only this namespace", examples: ["team-a"] }),
  sort: z
    .enum(POD_SORTS)
    .default("name")
    .meta({ description: "name: by namespace and name; the others: largest first" }),
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(PODS_MAX)
    .default(PODS_DEFAULT)
    .meta({ description: "Pods per page" }),
  cursor: z.string().min(1).max(CURSOR_CHARS_MAX).optional().meta({
    description:
      "next_cursor of the previous page, with the same sort and namespace; it includes from and to",
  }),
};

/** GET /cluster-metrics/{cluster_id}/summary, /health, /nodes, /pods and /gpus. */
export function clusterStateRoutes(state: ClusterState, answer: AnswerQuery): RouteModule {
  return (app) => {
    addClusterRoute(app, answer, {
      name: "summary",
      summary: "Key figures of a cluster",
      query: range("1 hour", "31 days"),
      description: "The figures; null where nothing is known",
      answer: summaryAnswer,
      run: ({ clusterId, query, signal }) => state.summary({ clusterId, ...toRangeMs(query), signal }),
    });
    addClusterRoute(app, answer, {
      name: "health",
      summary: "The cluster's health and its issues",
      query: stateRange,
      description: "The health",
      answer: healthAnswer,
      run: ({ clusterId, query, signal }) => state.health({ clusterId, ...toRangeMs(query), signal }),
    });
    addClusterRoute(app, answer, {
      name: "nodes",
      summary: "The state of each node",
      query: stateRange,
      description: "The nodes",
      answer: nodesAnswer,
      run: ({ clusterId, query, signal }) => state.nodes({ clusterId, ...toRangeMs(query), signal }),
    });
    addClusterRoute(app, answer, {
      name: "pods",
      summary: "The state of each Pod, a page at a time",
      query: podFields,
      description: "A page of Pods",
      answer: podsAnswer,
      run: ({ clusterId, query, signal }) => {
        const { namespace, sort, limit, cursor } = query;
        return state.pods({ clusterId, ...toRangeMs(query), namespace, sort, limit, cursor, signal });
      },
    });
    addClusterRoute(app, answer, {
      name: "gpus",
      summary: "The state of each GPU, and the Pods that use it",
      query: stateRange,
      description: "The GPUs",
      answer: gpusAnswer,
      run: ({ clusterId, query, signal }) => state.gpus({ clusterId, ...toRangeMs(query), signal }),
    });
  };
}
