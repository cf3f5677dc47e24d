import { createOtlpCodec } from "#allinone/otlp-proto.ts";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline } from "#lib/clock.ts";
import type { ExportResult, Transport } from "#otlp/transport.ts";
import type { Link } from "./link.ts";
import type { VirtualHost } from "./virtual-hosts.ts";

/** What the Collector stored, by identity. */
export interface Sink {
  points: Map<string, { value: number; kind: "gauge" | "sum" }>;
  /** Identities that came with another value or kind than before. */
  conflicts: string[];
  /** The status that a request is refused with; undefined: it is stored. */
  onRequest: () => 429 | 503 | undefined;
  store(body: Uint8Array): 429 | 503 | undefined;
}

const TIMEOUT_MS = 10_000;
const codec = createOtlpCodec();

export function identityOf(
  cluster: string,
  metric: string,
  labels: Record<string, string>,
  timestampMs: number,
): string {
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return `${cluster}|${metric}|${sorted.join()}|${timestampMs}`;
}

export function createSink(): Sink {
  const points: Sink["points"] = new Map();
  const add = (identity: string, value: number, kind: "gauge" | "sum"): void => {
    const known = points.get(identity);
    if (known && (!Object.is(known.value, value) || known.kind !== kind)) sink.conflicts.push(identity);
    points.set(identity, { value, kind });
  };
  const sink: Sink = {
    points,
    conflicts: [],
    onRequest: () => undefined,
    store: (body) => {
      const refused = sink.onRequest();
      if (refused !== undefined) return refused;
      for (const { resource, scopeMetrics } of codec.decodeRequest(body).resourceMetrics) {
        const cluster = textsOf(resource?.attributes ?? [])["cluster_id"] ?? "";
        for (const { name, sum, gauge } of scopeMetrics.flatMap(({ metrics }) => metrics)) {
          // The bridge's own metrics are of the replica's time and not of the cluster.
          if (name.startsWith("budcluster_")) continue;
          for (const point of (sum ?? gauge)!.dataPoints) {
            const ms = Number(BigInt(point.timeUnixNano.toString()) / 1_000_000n);
            add(
              identityOf(cluster, name, textsOf(point.attributes), ms),
              point.asDouble,
              sum ? "sum" : "gauge",
            );
          }
        }
      }
      return undefined;
    },
  };
  return sink;
}

function textsOf(attributes: readonly { key: string; value: { stringValue: string } | null }[]) {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value?.stringValue ?? ""]));
}

/** One replica's way to the Collector: uncompressed, over a link in virtual time. */
export function createSinkTransport(host: VirtualHost, sink: Sink, link: Link): Transport {
  const copy = (body: Buffer) => Promise.resolve({ body: Buffer.from(body), encoding: "none" as const });
  return {
    encode: copy,
    pack: copy,
    unpack: (payload) => Promise.resolve(payload),
    decode: ({ body }) => Promise.resolve(body),
    send: async ({ body }, signal) => {
      const timeout = new BridgeError("collector_timeout", "the Collector did not answer in 10 s");
      const limit = deadline(host.clock, TIMEOUT_MS, () => timeout, signal);
      try {
        const status = await abortable(
          link.call(host, () => sink.store(body)),
          limit.signal,
        );
        return toResult(status);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (limit.signal.aborted) return { kind: "retryable", error: timeout };
        throw error;
      } finally {
        limit.dispose();
      }
    },
  };
}

function toResult(status: 429 | 503 | undefined): ExportResult {
  if (status === undefined) return { kind: "accepted", message: "" };
  const error = new BridgeError("collector_unavailable", `the Collector answered ${status}`);
  return { kind: "retryable", error, status };
}
