import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import { kubePath, type KubeClient } from "#tunnel/kube-client.ts";
import { listByPages } from "#tunnel/kube-pages.ts";
import { judgeService, WELL_KNOWN_NAMES, type PrometheusService } from "./prometheus-signs.ts";

/** The Services that look like a Prometheus, as the API shows them. */
export interface FoundServices {
  /** cluster: the Services of all namespaces were listed. namespace: those of one. names: well-known names in one were asked for. */
  searched: "cluster" | "namespace" | "names";
  /** The namespace that was searched; null: all. */
  namespace: string | null;
  /** Services that were looked at. */
  services_read: number;
  /** False: there are more Services than were read, or more that look like a Prometheus than are answered. */
  complete: boolean;
  /** Why not everything was searched. */
  note: string | null;
  /** The likeliest first. */
  services: PrometheusService[];
}

export interface FindSettings {
  /** Where to search when the user may not list Services of all namespaces. */
  namespace: string;
  /** The Service that the configuration names. */
  configuredService: string;
}

const NAME_CHARS_MAX = 253;
const PORTS_SHOWN_MAX = 100;
const PAGE_SERVICES = 200;
const SERVICES_MAX = 5000;
const FOUND_MAX = 50;

const serviceSchema = z.object({
  metadata: z.object({
    name: z.string().max(NAME_CHARS_MAX),
    namespace: z.string().max(NAME_CHARS_MAX),
    labels: z.record(z.string(), z.string()).nullish(),
  }),
  spec: z
    .object({
      type: z.string().nullish(),
      selector: z.record(z.string(), z.string()).nullish(),
      ports: z
        .array(z.object({ name: z.string().nullish(), port: z.int(), protocol: z.string().nullish() }))
        .nullish(),
    })
    .nullish(),
});
type Service = z.infer<typeof serviceSchema>;

/**
 * Searches a cluster for Services that look like a Prometheus, within the rights of the user: in all namespaces, else in one, else by well-known
 * names (the least rights have `get services` only). Chooses none: a cluster may have several (lensapp/lens#8028).
 *
 * Throws cluster_forbidden when not even one Service may be read, and the client's other cluster_*.
 */
export async function findServices(
  kube: Pick<KubeClient, "get">,
  settings: FindSettings,
  signal: AbortSignal,
): Promise<FoundServices> {
  const { namespace } = settings;
  const everywhere = await unlessForbidden(list(kube, "/api/v1/services", settings, signal));
  if (everywhere) return { searched: "cluster", namespace: null, note: null, ...everywhere };
  const where = JSON.stringify(namespace);
  const path = kubePath("/api/v1/namespaces", namespace, "services");
  const here = await unlessForbidden(list(kube, path, settings, signal));
  if (here) {
    const note = `the kubeconfig's user may not list Services of all namespaces: only the namespace ${where} was searched`;
    return { searched: "namespace", namespace, note, ...here };
  }
  const note = `the kubeconfig's user may not list Services: only well-known names in the namespace ${where} were tried`;
  return { searched: "names", namespace, note, ...(await tryNames(kube, settings, signal)) };
}

type Search = Pick<FoundServices, "services_read" | "complete" | "services">;

async function unlessForbidden<T>(search: Promise<T>): Promise<T | undefined> {
  try {
    return await search;
  } catch (error) {
    if (error instanceof BridgeError && error.code === "cluster_forbidden") return undefined;
    throw error;
  }
}

async function list(
  kube: Pick<KubeClient, "get">,
  path: string,
  settings: FindSettings,
  signal: AbortSignal,
): Promise<Search> {
  let found = createFinder(settings);
  const begin = (): ((service: Service) => void) => {
    found = createFinder(settings);
    return found.add;
  };
  const pages = {
    path,
    what: "list services",
    schema: serviceSchema,
    pageItems: PAGE_SERVICES,
    itemsMax: SERVICES_MAX,
  };
  const { items, isWhole } = await listByPages(kube, pages, begin, signal);
  const { services, isAll } = found.result();
  return { services_read: items, complete: isWhole && isAll, services };
}

/** One after another: the first that is forbidden says it of all. */
async function tryNames(
  kube: Pick<KubeClient, "get">,
  settings: FindSettings,
  signal: AbortSignal,
): Promise<Search> {
  const { namespace, configuredService } = settings;
  const found = createFinder(settings);
  const names = new Set([configuredService, ...WELL_KNOWN_NAMES]);
  for (const name of names) {
    const path = kubePath("/api/v1/namespaces", namespace, "services", name);
    const what = `get services in namespace ${JSON.stringify(namespace)}`;
    const special = { 404: "prometheus_service_not_found" as const };
    try {
      found.add(await kube.get({ path, what, schema: serviceSchema, special }, signal));
    } catch (error) {
      if (!(error instanceof BridgeError) || error.code !== "prometheus_service_not_found") throw error;
    }
  }
  return { services_read: names.size, complete: true, services: found.result().services };
}

/** Keeps the likeliest, however many there are. */
function createFinder({ configuredService }: FindSettings): {
  add: (service: Service) => void;
  result: () => { services: PrometheusService[]; isAll: boolean };
} {
  let kept: { service: PrometheusService; weight: number }[] = [];
  let isAll = true;
  const best = () =>
    kept.toSorted(
      (a, b) =>
        b.weight - a.weight ||
        `${a.service.namespace}/${a.service.service}`.localeCompare(
          `${b.service.namespace}/${b.service.service}`,
        ),
    );
  return {
    add: ({ metadata, spec }) => {
      const hasPods = spec?.type !== "ExternalName" && Object.keys(spec?.selector ?? {}).length > 0;
      if (!hasPods) return;
      const ports = (spec?.ports ?? []).slice(0, PORTS_SHOWN_MAX).flatMap(({ name, port, protocol }) => {
        const isUsable = (protocol ?? "TCP") === "TCP" && port >= 1 && port <= 65_535;
        return isUsable ? [{ name: name ?? "", port }] : [];
      });
      const { name, namespace, labels } = metadata;
      const judged = judgeService({ name, namespace, labels: labels ?? {}, ports }, configuredService);
      if (!judged) return;
      kept.push(judged);
      if (kept.length < 2 * FOUND_MAX) return;
      kept = best().slice(0, FOUND_MAX);
      isAll = false;
    },
    result: () => {
      const all = best();
      return {
        services: all.slice(0, FOUND_MAX).map(({ service }) => service),
        isAll: isAll && all.length <= FOUND_MAX,
      };
    },
  };
}
