import { BridgeError } from "#errors/error.ts";
import { isYamlMap, readYaml } from "#lib/yaml.ts";
import type { ScannedSeries, SeriesSink } from "./series-sink.ts";

/** A label that Prometheus adds to the series of a remote read answer which do not have it. */
export interface ExternalLabel {
  name: string;
  value: string;
}

/** Bytes of a configuration that are looked at: `global` is its first part, and Prometheus writes it in this order. */
export const CONFIG_BYTES_MAX = 256 << 10;
const CONFIG_LIMITS = { bytesMax: CONFIG_BYTES_MAX, structureMax: 2000 };
const LABELS_MAX = 64;
const LABEL_BYTES_MAX = 8 << 10;

/**
 * The external labels in the text of /api/v1/status/config, of which the end may be cut off. Undefined: it can't be read for sure. Only the part
 * `global` is parsed: the rest may be megabytes.
 */
export function readExternalLabels(config: string): ExternalLabel[] | undefined {
  const block = globalBlock(config);
  const parsed = block === undefined ? undefined : readYaml(block, CONFIG_LIMITS);
  if (!parsed?.ok || !isYamlMap(parsed.value)) return undefined;
  const { global } = parsed.value;
  if (!isYamlMap(global)) return undefined;
  const labels = global["external_labels"] ?? {};
  if (!isYamlMap(labels)) return undefined;
  const entries = Object.entries(labels);
  // A value that YAML takes for a number was another text.
  const isText = entries.every((entry): entry is [string, string] => typeof entry[1] === "string");
  const isSmall = entries.length <= LABELS_MAX && JSON.stringify(entries).length <= LABEL_BYTES_MAX;
  if (!isText || !isSmall || "__name__" in labels) return undefined;
  return entries.map(([name, value]) => ({ name, value })).filter(({ value }) => value !== "");
}

/** The lines from `global:` to the next key of the outermost map. Undefined: the text has no such part, or it ends in the middle of it. */
function globalBlock(config: string): string | undefined {
  const start = /^global:/m.exec(config)?.index;
  if (start === undefined) return undefined;
  const rest = config.slice(start);
  const end = /\n(?=[^\s#])/.exec(rest)?.index;
  if (end === undefined && Buffer.byteLength(config) >= CONFIG_BYTES_MAX) return undefined;
  return rest.slice(0, end);
}

/** A series' labels are not what the decision about external labels rests on. */
export class LabelsContradict extends BridgeError {
  constructor(problem: string) {
    super(
      "prometheus_answer_invalid",
      `the external labels of the answer are not those of Prometheus' configuration: ${problem}`,
    );
  }
}

const TEXT = new TextDecoder();

/**
 * Takes the labels off that Prometheus added, before `sink` sees a series. Throws LabelsContradict when a series does not have one of them with its
 * value, and when one that should have a label of its own (`own`) has exactly the external one: Prometheus may have added that.
 */
export function withoutLabels(
  sink: SeriesSink,
  added: readonly ExternalLabel[],
  own: readonly ExternalLabel[] = [],
): SeriesSink {
  if (added.length + own.length === 0) return sink;
  const toBytes = ({ name, value }: ExternalLabel) => ({
    name: Buffer.from(name),
    value: Buffer.from(value),
  });
  const texts = added.map(toBytes);
  const others = own.map(toBytes);
  let labels = new Int32Array(0);
  let stripped: ScannedSeries | undefined;

  const strip = (series: ScannedSeries): ScannedSeries => {
    const { bytes, labelCount, labels: ranges } = series;
    if (labels.length < labelCount * 4) labels = new Int32Array(labelCount * 8);
    let kept = 0;
    for (let i = 0; i < labelCount * 4; i += 4) {
      const isName = ({ name }: { name: Buffer }): boolean => isSame(name, bytes, ranges[i]!, ranges[i + 1]!);
      const found = texts.find(isName);
      const other = others.find(isName);
      if (other && isSame(other.value, bytes, ranges[i + 2]!, ranges[i + 3]!))
        throw new LabelsContradict(`not each series has its own label ${TEXT.decode(other.name)}`);
      if (!found) {
        for (let part = 0; part < 4; part++) labels[kept * 4 + part] = ranges[i + part]!;
        kept++;
      } else if (!isSame(found.value, bytes, ranges[i + 2]!, ranges[i + 3]!))
        throw new LabelsContradict(`the label ${TEXT.decode(found.name)} has another value`);
    }
    if (labelCount - kept !== texts.length) throw new LabelsContradict("an external label is missing");
    stripped = Object.assign(stripped ?? { ...series }, series, { labelCount: kept, labels });
    return stripped;
  };

  const has = { markers: sink.markers !== undefined, histogram: sink.histogram !== undefined };
  return {
    series: (series) => sink.series(strip(series)),
    ...(has.markers ? { markers: (series) => sink.markers?.(strip(series)) } : {}),
    ...(has.histogram ? { histogram: (series, of) => sink.histogram?.(strip(series), of) } : {}),
  };
}

function isSame(text: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== text.length) return false;
  for (let i = 0; i < text.length; i++) if (text[i] !== bytes[start + i]) return false;
  return true;
}
