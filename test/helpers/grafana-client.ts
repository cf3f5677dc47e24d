import { replaceVariables, toLabelValues, type Dashboard } from "./grafana.ts";

export interface TimeRange {
  fromMs: number;
  toMs: number;
}

/** `chosen`: what a dashboard has at first, the first value or "All", which is no value. */
export interface Variables {
  offered: Record<string, string[]>;
  chosen: Record<string, string>;
}

interface PrometheusAnswer {
  status: string;
  data: unknown;
}

/** The points that a panel has, and the scrape interval of the data source. */
const POINTS = 100;
const SCRAPE_SECONDS = 30;
const NAMES_MAX = 40_000;

/**
 * Grafana's Prometheus data source (pkg/promlib, @grafana/prometheus) with HTTP method POST: which requests it sends, in which form. `token`: of the header that
 * the data source has.
 */
export class GrafanaClient {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  /** Requests as `METHOD path`. */
  readonly requests: string[] = [];

  constructor(url: string, token: string) {
    this.#url = url;
    this.#headers = { authorization: `Bearer ${token}`, "x-grafana-org-id": "1" };
  }

  /** "Save & test": a sum at the beginning of 1970, then what the server is. */
  async saveAndTest(): Promise<{ sum: unknown; version: unknown; isMimir: boolean }> {
    const { data } = await this.#query("query", { query: "1+1", time: "4" });
    const info = (await this.#get("status/buildinfo")).data as { version?: unknown; features?: object };
    return {
      sum: (data as { result: unknown }).result,
      version: info.version,
      isMimir: Object.keys(info.features ?? {}).length > 0,
    };
  }

  /** The values of each variable of the dashboard, in turn: a later one depends on the choice of those before. */
  async variables({ templating }: Dashboard, range: TimeRange): Promise<Variables> {
    const offered: Record<string, string[]> = {};
    const chosen: Record<string, string> = {};
    for (const { name, type, query, multi } of templating.list) {
      if (type !== "query") continue;
      const { selector, label } = toLabelValues((query as { query: string }).query);
      const form = {
        "match[]": replaceVariables(selector, chosen),
        ...secondsOf(range),
        limit: `${NAMES_MAX}`,
      };
      const values = (await this.#get(`label/${label}/values`, form)).data as string[];
      offered[name] = values;
      const [first] = values;
      if (!multi && first !== undefined) chosen[name] = first;
    }
    return { offered, chosen };
  }

  /** The results of a panel's queries. `instant`: at the range's end. */
  async panel(
    { targets = [] }: Dashboard["panels"][number],
    variables: Readonly<Record<string, string>>,
    range: TimeRange,
  ): Promise<unknown[][]> {
    const rawSeconds = (range.toMs - range.fromMs) / 1000 / POINTS;
    const stepSeconds = Math.max(15, Math.ceil(rawSeconds / 15) * 15);
    const rateSeconds = Math.max(stepSeconds + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS);
    const results: unknown[][] = [];
    for (const { expr, instant } of targets) {
      const query = replaceVariables(expr, { ...variables, __rate_interval: `${rateSeconds}s` });
      const { start, end } = secondsOf(range);
      const { data } = instant
        ? await this.#query("query", { query, time: end })
        : await this.#query("query_range", { query, start, end, step: String(stepSeconds) });
      results.push((data as { result: unknown[] }).result);
    }
    return results;
  }

  /** A call of the query editor. A POST that is refused with 400 or 405 is tried as a GET. */
  async resource(path: "labels" | "series", form: Record<string, string>): Promise<unknown[]> {
    const answer = await this.#send("POST", path, form);
    if (answer.status !== 400 && answer.status !== 405) return (await read(answer)).data as unknown[];
    return (await this.#get(path, form)).data as unknown[];
  }

  async #query(path: "query" | "query_range", form: Record<string, string>): Promise<PrometheusAnswer> {
    return await read(await this.#send("POST", path, form));
  }

  async #get(path: string, form: Record<string, string> = {}): Promise<PrometheusAnswer> {
    return await read(await this.#send("GET", path, form));
  }

  async #send(method: "GET" | "POST", path: string, form: Record<string, string>): Promise<Response> {
    this.requests.push(`${method} ${path}`);
    const parameters = new URLSearchParams(form).toString();
    const url = `${this.#url}/api/v1/${path}`;
    if (method === "GET")
      return await fetch(parameters === "" ? url : `${url}?${parameters}`, { headers: this.#headers });
    const headers = { ...this.#headers, "content-type": "application/x-www-form-urlencoded" };
    return await fetch(url, { method: "POST", headers, body: parameters });
  }
}

function secondsOf({ fromMs, toMs }: TimeRange): { start: string; end: string } {
  return { start: String(fromMs / 1000), end: String(toMs / 1000) };
}

async function read(answer: Response): Promise<PrometheusAnswer> {
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.url}: ${answer.status} ${text}`);
  const body = JSON.parse(text) as PrometheusAnswer;
  if (body.status !== "success") throw new Error(`${answer.url}: ${text}`);
  return body;
}
