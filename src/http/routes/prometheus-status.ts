import type { App, RouteModule } from "#http/app-types.ts";
import { addPrometheusRoute } from "#http/prometheus-route.ts";
import { toSuccess } from "#http/promql-answer.ts";
import { PARAMETERS } from "#http/promql-schemas.ts";
import type { Clock } from "#lib/clock.ts";
import type { PromqlSettings } from "#query/promql/promql.ts";

/** The Prometheus whose API and language this is: clients decide by it what they may ask. */
const PROMETHEUS_VERSION = "3.15.0";

/** /api/v1/rules, alerts and status/*: what Grafana asks of a data source. */
export function prometheusStatusRoutes(
  settings: PromqlSettings,
  service: { name: string; version: string },
  clock: Clock,
): RouteModule {
  const startTime = new Date(clock.now()).toISOString();
  const add = (app: App, path: string, summary: string, data: () => object): void =>
    addPrometheusRoute(app, {
      path,
      summary,
      parameters: PARAMETERS.none,
      run: async () => toSuccess(JSON.stringify(data())),
    });
  return (app) => {
    add(app, "rules", "Always empty: rules belong to the clusters' own Prometheus", () => ({ groups: [] }));
    add(app, "alerts", "Always empty: alerts belong to the clusters' own Prometheus", () => ({ alerts: [] }));
    add(app, "status/buildinfo", "The version of Prometheus whose API this is", () => ({
      version: PROMETHEUS_VERSION,
      revision: `${service.name} ${service.version}`,
      branch: "",
      buildUser: "",
      buildDate: "",
      goVersion: "",
    }));
    add(app, "status/runtimeinfo", "The state of this server", () => ({
      startTime,
      CWD: "",
      hostname: "",
      serverTime: new Date(clock.now()).toISOString(),
      reloadConfigSuccess: true,
      lastConfigTime: startTime,
      corruptionCount: 0,
      goroutineCount: 0,
      GOMAXPROCS: 0,
      GOMEMLIMIT: 0,
      GOGC: "",
      GODEBUG: "",
      storageRetention: "",
    }));
    add(app, "status/flags", "The limits of queries, as Prometheus names them", () => ({
      "query.lookback-delta": `${settings.lookbackMs / 1000}s`,
      "query.max-samples": String(settings.limits.samplesMax),
      "query.timeout": `${settings.timeoutMs / 1000}s`,
    }));
  };
}
