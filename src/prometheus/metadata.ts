/** What Prometheus says of a metric family (/api/v1/metadata). */
export interface FamilyMetadata {
  /** One of `TYPES`; `unknown`, an empty text or any other word says nothing. */
  type: string;
  help: string;
  unit: string;
}

export type Metadata = ReadonlyMap<string, FamilyMetadata>;

export interface MetricType {
  kind: "counter" | "gauge";
  unit: string;
  description: string;
}

const DESCRIPTION_MAX = 300;
const SUFFIXES = ["_total", "_bucket", "_sum", "_count"];
const COUNTER_TYPES = new Set(["histogram", "summary"]);
/** Prometheus' metric types (common/model/metadata.go) that say what a metric is: all but `unknown`. */
const TYPES = new Set(["counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"]);

/**
 * The OTLP kind of a metric by its name: the family's metadata first, the name's suffix where the metadata has no type. `_bucket`, `_sum` and `_count` of
 * histograms and summaries are counters, a summary's quantiles gauges. Source: OpenTelemetry "Prometheus and OpenMetrics compatibility".
 */
export function metricTypeOf(name: string, metadata: Metadata): MetricType {
  const suffix = suffixOf(name);
  const exact = metadata.get(name);
  const family = suffix === undefined ? undefined : metadata.get(name.slice(0, -suffix.length));
  if (isTyped(exact)) return { kind: exact.type === "counter" ? "counter" : "gauge", ...texts(exact, name) };
  if (suffix !== "_total" && isTyped(family)) {
    const isCounter = COUNTER_TYPES.has(family.type);
    const unit = suffix === "_sum" ? unitOf(family, name.slice(0, -"_sum".length)) : "";
    return {
      kind: isCounter ? "counter" : "gauge",
      unit,
      description: family.help.slice(0, DESCRIPTION_MAX),
    };
  }
  return { kind: suffix === undefined ? "gauge" : "counter", ...texts(exact ?? family, name) };
}

/** True when the metadata says the metric's type. A federating Prometheus lists metrics as `unknown`: their names decide. */
export function hasType(name: string, metadata: Metadata): boolean {
  const suffix = suffixOf(name);
  return (
    isTyped(metadata.get(name)) ||
    (suffix !== undefined && isTyped(metadata.get(name.slice(0, -suffix.length))))
  );
}

function suffixOf(name: string): string | undefined {
  return SUFFIXES.find((ending) => name.endsWith(ending) && name.length > ending.length);
}

function isTyped(family: FamilyMetadata | undefined): family is FamilyMetadata {
  return family !== undefined && TYPES.has(family.type);
}

/** The families that metrics of these names may belong to. */
export function familiesOf(names: ReadonlySet<string>): ReadonlySet<string> {
  const families = new Set(names);
  for (const name of names) {
    const suffix = SUFFIXES.find((ending) => name.endsWith(ending) && name.length > ending.length);
    if (suffix !== undefined) families.add(name.slice(0, -suffix.length));
  }
  return families;
}

function texts(family: FamilyMetadata | undefined, name: string): { unit: string; description: string } {
  return { unit: unitOf(family, name), description: (family?.help ?? "").slice(0, DESCRIPTION_MAX) };
}

/** Prometheus' base units as UCUM, by the metadata's unit or the name's ending. */
const UCUM = new Map([
  ["seconds", "s"],
  ["bytes", "By"],
  ["celsius", "Cel"],
  ["ratio", "1"],
  ["percent", "%"],
  ["volts", "V"],
  ["amperes", "A"],
  ["joules", "J"],
  ["watts", "W"],
  ["meters", "m"],
  ["grams", "g"],
  ["hertz", "Hz"],
]);

function unitOf(family: FamilyMetadata | undefined, name: string): string {
  const ending =
    name
      .replace(/_total$/, "")
      .split("_")
      .at(-1) ?? "";
  return UCUM.get(family?.unit ?? "") ?? UCUM.get(ending) ?? "";
}
