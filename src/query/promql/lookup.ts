import { assert } from "#lib/assert.ts";
import type { Matcher } from "#promql/ast.ts";
import { Labels, METRIC_NAME } from "#promql/labels.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import type { IsInSeriesTable } from "#query/series/series-table.ts";
import { CLUSTER_LABELS, isClusterLabel, type StoredCluster, toSeriesLabels } from "./cluster-labels.ts";
import { HISTOGRAM_TABLES, type MayBeHistogram } from "./histogram-tables.ts";
import type { ListSeries } from "./list-series.ts";
import { type Selection, toSelection } from "./selection.ts";
import { type SampleRange, toRangeParameters, toSeriesRows, toStoredRange } from "./series-rows.ts";

interface LookupRequest {
  /** Of each selector; none: all series. */
  selectors: readonly (readonly Matcher[])[];
  range: SampleRange;
  /** At most so many answers. */
  limit: number;
  signal: AbortSignal;
}

interface Found<T> {
  found: T[];
  /** There are more than the limit. */
  isCut: boolean;
}

/** `type` as Prometheus names it. */
interface MetricMetadata {
  type: "counter" | "gauge" | "histogram";
  help: string;
  unit: string;
}

/**
 * What series there are, as Prometheus' API lists it: by days, so a series may be listed that has no sample in a part of a day. Each throws PromqlError `bad_data` for a regular expression
 * that is none, and what a LimitedDatabase throws.
 */
export interface Lookup {
  /** By labels. */
  series(request: LookupRequest): Promise<Found<Labels>>;
  labelNames(request: LookupRequest): Promise<Found<string>>;
  labelValues(name: string, request: LookupRequest): Promise<Found<string>>;
  /** By metric; `metric`: of this one only. */
  metadata(request: {
    metric?: string | undefined;
    range: SampleRange;
    limit: number;
    signal: AbortSignal;
  }): Promise<Map<string, MetricMetadata[]>>;
}

interface LookupDeps {
  database: LimitedDatabase;
  isInSeriesTable: IsInSeriesTable;
  mayBeHistogram: MayBeHistogram;
  listSeries: ListSeries;
  /** The clusters that the caller may see. */
  seen: (signal: AbortSignal) => Promise<readonly StoredCluster[]>;
}

interface Question {
  selection: Selection;
  range: SampleRange;
  signal: AbortSignal;
}

export function createLookup(
  { database, isInSeriesTable, mayBeHistogram, listSeries, seen }: LookupDeps,
  { databaseName, seriesMax }: { databaseName: string; seriesMax: number },
): Lookup {
  const ask = async <Row>(
    { selection, range, signal }: Question,
    columns: string,
    {
      where = "",
      more = "",
      parameters = {},
    }: { where?: string; more?: string; parameters?: Record<string, string> } = {},
  ): Promise<Row[]> => {
    // By whole days, and never from the samples for long ranges.
    const rows = toSeriesRows(
      databaseName,
      {
        isInSeriesTable: await isInSeriesTable(Math.max(range.toMs, 0), signal),
        withHistograms: await mayBeHistogram(selection.metric, signal),
      },
      selection.sql,
    );
    return await database.query<Row>(
      `SELECT ${columns} FROM ${rows} ${where} ${more}`,
      { ...selection.parameters, ...toRangeParameters(range), ...parameters },
      signal,
    );
  };

  /** One after the other: an answer is small where the first selectors have all of it. */
  const forEachSelection = async (
    { selectors, range, signal }: Omit<LookupRequest, "limit">,
    visit: (question: Question) => Promise<void>,
  ): Promise<void> => {
    const stored = toStoredRange(range);
    if (stored === undefined) return;
    const clusters = await seen(signal);
    for (const matchers of selectors.length === 0 ? [[]] : selectors) {
      const selection = toSelection(matchers, clusters);
      if (selection.clusters.size > 0) await visit({ selection, range: stored, signal });
    }
  };

  const list = async ({ selection, range, signal }: Question, max: number): Promise<Found<Labels>> => {
    const { series, isCut } = await listSeries(selection, range, max, signal);
    return { found: series.map(({ labels }) => labels), isCut };
  };

  const namesOf = async (question: Question): Promise<Found<string>> => {
    if (!question.selection.isExact) {
      const { found, isCut } = await list(question, seriesMax);
      return { found: found.flatMap((labels) => [...labels.entries()].map(([name]) => name)), isCut };
    }
    const [row] = await ask<{ names: string[]; series: string }>(
      question,
      "groupUniqArrayArray(mapKeys(labels)) AS names, count() AS series",
    );
    if (row === undefined || row.series === "0") return { found: [], isCut: false };
    const plain = [
      METRIC_NAME,
      "cluster",
      "cluster_id",
      ...row.names.filter((name) => !isClusterLabel(name)),
    ];
    if (plain.length === row.names.length + 3) return { found: plain, isCut: false };
    const moved = await ask<{ cluster_id: string; own: Record<string, string> }>(
      question,
      `DISTINCT toString(cluster_id) AS cluster_id, mapFilter((name, text) -> match(name, '${CLUSTER_LABELS}'), labels) AS own`,
      { more: `LIMIT ${seriesMax}` },
    );
    const names = moved.flatMap(({ cluster_id, own }) =>
      [...toSeriesLabels("", own, clusterOf(question, cluster_id)).entries()].map(([name]) => name),
    );
    return { found: [...plain, ...names], isCut: moved.length === seriesMax };
  };

  const valuesOf = async (name: string, question: Question, max: number): Promise<Found<string>> => {
    const isCluster = name === "cluster" || name === "cluster_id";
    if (!question.selection.isExact || (isClusterLabel(name) && !isCluster)) {
      const { found, isCut } = await list(question, seriesMax);
      return { found: found.map((labels) => labels.get(name)).filter((value) => value !== ""), isCut };
    }
    if (isCluster) {
      const rows = await ask<{ id: string }>(question, "DISTINCT toString(cluster_id) AS id");
      const found = rows.map(({ id }) => (name === "cluster" ? clusterOf(question, id).name : id));
      return { found, isCut: false };
    }
    const more = `ORDER BY value LIMIT ${max + 1}`;
    const rows =
      name === METRIC_NAME
        ? await ask<{ value: string }>(question, "DISTINCT toString(metric_name) AS value", { more })
        : await ask<{ value: string }>(question, "DISTINCT labels[{name:String}] AS value", {
            where: "AND labels[{name:String}] != ''",
            more,
            parameters: { name },
          });
    return { found: rows.map(({ value }) => value), isCut: rows.length > max };
  };

  const gather = async (
    request: LookupRequest,
    read: (question: Question) => Promise<Found<string>>,
  ): Promise<Found<string>> => {
    const all = new Set<string>();
    let isCut = false;
    await forEachSelection(request, async (question) => {
      const some = await read(question);
      for (const text of some.found) all.add(text);
      isCut ||= some.isCut;
    });
    return toFound([...all].sort(), request.limit, isCut);
  };

  return {
    series: async (request) => {
      const all = new Map<string, Labels>();
      const limit = Math.min(request.limit, seriesMax);
      let isCut = false;
      await forEachSelection(request, async (question) => {
        // Of a list from which some are left out, nobody knows how many it takes.
        const listed = await list(question, question.selection.isExact ? limit : seriesMax);
        for (const labels of listed.found) all.set(labels.key, labels);
        isCut ||= listed.isCut;
      });
      const sorted = [...all.values()].sort((a, b) => Labels.compare(a, b));
      return toFound(sorted, limit, isCut);
    },
    labelNames: (request) => gather(request, namesOf),
    labelValues: (name, request) => gather(request, (question) => valuesOf(name, question, request.limit)),
    metadata: async ({ metric, limit, ...request }) => {
      const found = new Map<string, MetricMetadata[]>();
      const matchers = metric === undefined ? [] : [{ name: METRIC_NAME, type: "=", value: metric } as const];
      await forEachSelection({ ...request, selectors: [matchers] }, async (question) => {
        const rows = await ask<{ metric: string; all: [kind: string, help: string, unit: string][] }>(
          question,
          "toString(metric_name) AS metric, groupUniqArray(10)((toString(kind), toString(description), toString(unit))) AS all",
          { more: `GROUP BY metric_name ORDER BY metric_name LIMIT ${limit}` },
        );
        for (const { metric: name, all } of rows) found.set(name, all.map(toMetadata));
      });
      return found;
    },
  };
}

function clusterOf({ selection }: Question, id: string): StoredCluster {
  const cluster = selection.clusters.get(id);
  assert(cluster !== undefined, "a series is of a cluster that was asked for");
  return cluster;
}

function toFound<T>(all: T[], limit: number, isCut: boolean): Found<T> {
  return { found: all.slice(0, limit), isCut: isCut || all.length > limit };
}

/** A sum that may fall is a gauge for Prometheus. */
function toMetadata([kind, help, unit]: [kind: string, help: string, unit: string]): MetricMetadata {
  const isHistogram = HISTOGRAM_TABLES.some((table) => table === kind);
  return { type: isHistogram ? "histogram" : kind === "counter" ? "counter" : "gauge", help, unit };
}
