/** Prometheus matrix answers as a real one writes them: node, pod and GPU series with about 11 labels, true millisecond timestamps. */
export interface Workload {
  series: number;
  samplesPerSeries: number;
}

const START_MS = 1_767_225_600_000;
const SCRAPE_MS = 30_000;

/** The window that holds every sample of the workload. */
export function windowOf({ samplesPerSeries }: Workload): { fromMs: number; toMs: number } {
  return { fromMs: START_MS - SCRAPE_MS, toMs: START_MS + samplesPerSeries * SCRAPE_MS };
}

function valueOf(series: number, sample: number): string {
  switch (series % 4) {
    case 0:
      return String(1_000_000 + series * 17 + sample * 1337);
    case 1:
      return String(series + sample + (sample * 37 + series) / 100);
    case 2:
      return String(Math.sqrt(series + 1) * (sample + 1));
    default:
      return String(8_589_934_592 + series * 4096 * (sample + 1));
  }
}

function seriesOf(i: number, samples: number): string {
  const metric =
    `"__name__":"container_memory_working_set_bytes","container":"main-${i % 7}","endpoint":"https-metrics",` +
    `"id":"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${(i * 2654435761) % 4294967296}.slice",` +
    `"image":"registry.example.com/team-${i % 31}/trainer:v1.${i % 97}","instance":"10.0.${(i >> 6) % 256}.${i % 64}:10250",` +
    `"job":"kubelet","metrics_path":"/metrics/cadvisor","namespace":"team-${i % 31}","node":"node-${i % 64}",` +
    `"pod":"trainer-${i}-${(i * 40503) % 65536}","service":"kubelet"`;
  const jitterMs = (i * 7919) % SCRAPE_MS;
  const values = Array.from({ length: samples }, (_, n) => {
    const ms = START_MS + n * SCRAPE_MS + jitterMs;
    return `[${ms % 1000 === 0 ? ms / 1000 : (ms / 1000).toFixed(3).replace(/0+$/, "")},"${valueOf(i, n)}"]`;
  });
  return `{"metric":{${metric}},"values":[${values.join(",")}]}`;
}

/** The answer in chunks of about `chunkBytes`, as a port-forward's frames bring it; nothing is kept. */
export function* answerChunks(workload: Workload, chunkBytes: number): Generator<Buffer> {
  let text = '{"status":"success","data":{"resultType":"matrix","result":[';
  for (let i = 0; i < workload.series; i++) {
    text += (i === 0 ? "" : ",") + seriesOf(i, workload.samplesPerSeries);
    while (text.length >= chunkBytes) {
      yield Buffer.from(text.slice(0, chunkBytes));
      text = text.slice(chunkBytes);
    }
  }
  yield Buffer.from(`${text}]}}`);
}
