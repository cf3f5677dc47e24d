import type { ReadSeries, ReadSink } from "./remote-read/read-series.ts";
import { isStaleMarker, STALE_HIGH, STALE_LOW } from "./remote-read/stale-marker.ts";
import type { ScannedSeries, SeriesSink } from "./series-sink.ts";

/** Hands the stale markers among a series' samples to the sink apart from the values, and counts them. Both keep their bits. */
export function separatingMarkers(sink: SeriesSink): { series: ReadSink["series"]; count(): number } {
  let count = 0;
  const found: ScannedSeries = {
    bytes: new Uint8Array(0),
    nameStart: 0,
    nameEnd: 0,
    labelCount: 0,
    labels: new Int32Array(0),
    sampleCount: 0,
    timestamps: new Float64Array(0),
    values: new Float64Array(0),
  };

  const separate = (series: ReadSeries, markers: number): void => {
    const { timestamps, sampleCount, valueBits } = series;
    if (found.values.length < markers) {
      found.timestamps = new Float64Array(markers * 2);
      found.values = new Float64Array(markers * 2);
      const halves = new Uint32Array(found.values.buffer);
      for (let i = 0; i < halves.length; i += 2) [halves[i], halves[i + 1]] = [STALE_LOW, STALE_HIGH];
    }
    let at = 0;
    let marker = 0;
    for (let i = 0; i < sampleCount; i++) {
      if (isMarker(valueBits, i)) {
        found.timestamps[marker++] = timestamps[i]!;
        continue;
      }
      timestamps[at] = timestamps[i]!;
      valueBits[at * 2] = valueBits[i * 2]!;
      valueBits[at * 2 + 1] = valueBits[i * 2 + 1]!;
      at++;
    }
    series.sampleCount = at;
    const { bytes, nameStart, nameEnd, labelCount, labels } = series;
    Object.assign(found, { bytes, nameStart, nameEnd, labelCount, labels, sampleCount: marker });
  };

  return {
    count: () => count,
    series: (series) => {
      const { valueBits, sampleCount } = series;
      let markers = 0;
      for (let i = 0; i < sampleCount; i++) if (isMarker(valueBits, i)) markers++;
      if (markers === 0) return sink.series(series);
      count += markers;
      separate(series, markers);
      const refusal = series.sampleCount > 0 ? sink.series(series) : undefined;
      return refusal ?? sink.markers?.(found);
    },
  };
}

function isMarker(bits: Uint32Array, i: number): boolean {
  return isStaleMarker(bits[2 * i + 1]!, bits[2 * i]!);
}
