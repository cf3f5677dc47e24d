import type { ClusterLayout } from "./layout.ts";
import { metric } from "./metric.ts";
import type { NativeHistogram } from "./native-histogram.ts";
import type { SimulatedMetric } from "./series.ts";
import { counter } from "./values.ts";

const HELP = "Native histogram of the simulator.";
/** The share of the observations that each bucket has, at most 1 together. */
const POSITIVE = [0.05, 0.2, 0.3, 0.11, 0.04];
const NEGATIVE = [0.02, 0.01];
const ZERO = 0.03;

/** Native histograms: with exponential buckets, with custom ones, and one that takes turns with plain samples. */
export function nativeMetrics(layout: ClusterLayout): SimulatedMetric[] {
  const startedAt = layout.nodes[0]?.bootedAt ?? (() => 0);
  const every = layout.shape.scrapeIntervalMs;
  return [
    metric("sim_rpc_latency_seconds", "histogram", HELP, () =>
      layout.nodes.map((node) => ({
        target: node.nodeExporter,
        labels: [],
        value: () => () => 0,
        histogram: (hash) => exponential(counterOf(hash, node.bootedAt), node.bootedAt),
      })),
    ),
    {
      ...metric("sim_request_size_bytes", "histogram", HELP, () => [
        {
          target: layout.kubeState,
          labels: [],
          value: () => () => 0,
          histogram: (hash) => custom(counterOf(hash, startedAt), startedAt),
        },
      ]),
      since: 3,
    },
    metric("sim_mixed_seconds", "histogram", HELP, () => [
      {
        target: layout.kubeState,
        labels: [],
        value: (hash) => counterOf(hash, startedAt),
        histogram: (hash) => {
          const at = exponential(counterOf(hash, startedAt), startedAt);
          return (timeMs) => (Math.floor(timeMs / every) % 2 === 0 ? at(timeMs) : undefined);
        },
      },
    ]),
  ];
}

function counterOf(hash: number, startedAt: (timeMs: number) => number): (timeMs: number) => number {
  return counter({ hash, perSecond: 12, startedAt, whole: true });
}

type HistogramAt = (timeMs: number) => NativeHistogram;

function exponential(
  observed: (timeMs: number) => number,
  startedAt: (timeMs: number) => number,
): HistogramAt {
  return (timeMs) => {
    const of = (share: number): number => Math.floor(observed(timeMs) * share);
    const [positiveCounts, negativeCounts, zeroCount] = [POSITIVE.map(of), NEGATIVE.map(of), of(ZERO)];
    return {
      schema: 3,
      count: [...positiveCounts, ...negativeCounts, zeroCount].reduce((sum, count) => sum + count, 0),
      sum: observed(timeMs) * 0.0625,
      zeroThreshold: 2 ** -128,
      zeroCount,
      positiveSpans: [
        [-20, 2],
        [3, 3],
      ],
      positiveCounts,
      negativeSpans: [[-4, 2]],
      negativeCounts,
      customValues: [],
      startedMs: startedAt(timeMs),
    };
  };
}

function custom(observed: (timeMs: number) => number, startedAt: (timeMs: number) => number): HistogramAt {
  return (timeMs) => {
    const positiveCounts = POSITIVE.slice(0, 4).map((share) => Math.floor(observed(timeMs) * share));
    return {
      schema: -53,
      count: positiveCounts.reduce((sum, count) => sum + count, 0),
      sum: observed(timeMs) * 300.1,
      zeroThreshold: 0,
      zeroCount: 0,
      positiveSpans: [[0, 4]],
      positiveCounts,
      negativeSpans: [],
      negativeCounts: [],
      // The last bound has more than three decimals: it is stored in full.
      customValues: [100, 1000.5, 4096.0001],
      startedMs: startedAt(timeMs),
    };
  };
}
