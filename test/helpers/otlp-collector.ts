import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { systemClock } from "#lib/clock.ts";
import { sendRaw, type RawAnswer } from "#simulator/raw-answer.ts";
import { createOtlpCodec, type Metric, type NumberDataPoint } from "#allinone/otlp-proto.ts";

export interface ReceivedPoint {
  metric: string;
  kind: "counter" | "gauge";
  labels: Record<string, string>;
  timestampMs: number;
  value: number;
  unit: string;
  clusterId: string;
  /** With the flag NO_RECORDED_VALUE: a stale marker. */
  isMarker: boolean;
}

export interface ReceivedRequest {
  points: readonly ReceivedPoint[];
  /** Every cluster_id in it. */
  clusterIds: ReadonlySet<string>;
  headers: IncomingMessage["headers"];
  /** Bytes of the body after decompression. */
  bytes: number;
  /** The answer, if there was one. */
  answer: Answer["kind"] | "none";
  status: number | undefined;
}

/** The Collector's reaction to a request. */
export type Answer =
  | { kind: "accept" }
  /** Stores the others and says how many it refused. */
  | { kind: "partial"; refuses: (point: ReceivedPoint) => boolean; message: string }
  /** A partial success with this number of refused points; stores nothing. */
  | { kind: "impossible"; count: number }
  | { kind: "status"; status: number; message?: string; headers?: Record<string, string> }
  | { kind: "page" }
  /** Ends the connection with an RST, before the answer or in the middle of it; `isStored`: the points arrived all the same. */
  | { kind: "reset"; when: "before" | "within"; isStored: boolean }
  /** These bytes in place of an HTTP answer; the points are stored or not. */
  | { kind: "raw"; raw: RawAnswer; isStored: boolean }
  /** Never answers. */
  | { kind: "hang" };

export interface OtlpCollector {
  /** OTEL_COLLECTOR_ENDPOINT */
  url: string;
  /** In the order of their arrival. */
  requests: ReceivedRequest[];
  /** Points of acknowledged requests by identity, without stale markers: a repeat is the same row. */
  acknowledged: Map<string, ReceivedPoint>;
  /** Stale markers of acknowledged requests. */
  markers: Map<string, ReceivedPoint>;
  /** How often points came of which an earlier request was acknowledged; without the bridge's own budcluster_*, as with conflicts. */
  repeats: number;
  /** Identities that came with another value or kind; at most 20. */
  conflicts: string[];
  onRequest: (request: ReceivedRequest) => Answer | Promise<Answer>;
  /** Stops listening and breaks every connection; `start` listens on the same port again. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

export const ACCEPT: Answer = { kind: "accept" };

export function refusal(status: number, message = "", headers: Record<string, string> = {}): Answer {
  return { kind: "status", status, message, headers };
}

/** Remote read's form SAMPLES does not have the sign of -0; every NaN is the same here. */
export function isSameValue(a: number, b: number): boolean {
  return Object.is(a + 0, b + 0);
}

/** Is it one of the metrics that the bridge itself makes of a cluster? */
export function isOwn({ metric }: Pick<ReceivedPoint, "metric">): boolean {
  return metric.startsWith("budcluster_");
}

/** Metric, labels and time, within the cluster. */
function identityOf(point: ReceivedPoint): string {
  return identity(point.clusterId, point.metric, Object.entries(point.labels), point.timestampMs);
}

export function identity(
  clusterId: string,
  metric: string,
  labels: readonly (readonly [string, string])[],
  timestampMs: number,
): string {
  const sorted = labels.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([clusterId, metric, sorted, timestampMs]);
}

const PAGE = "<!DOCTYPE html><html><body>Sign in</body></html>";
const codec = createOtlpCodec();

/** An OTLP/HTTP receiver on a loopback port with programmable answers, which records all requests. */
export async function startOtlpCollector(): Promise<OtlpCollector> {
  const server = createServer();
  server.on("request", (request, response) => {
    request.on("error", () => {});
    response.on("error", () => {});
    serve(request, response).catch(() => response.destroy());
  });

  const store = (points: readonly ReceivedPoint[]): void => {
    for (const point of points) {
      const key = identityOf(point);
      if (point.isMarker) {
        collector.markers.set(key, point);
        continue;
      }
      const known = collector.acknowledged.get(key);
      if (known && !isOwn(point)) {
        collector.repeats++;
        const differs = !isSameValue(known.value, point.value) || known.kind !== point.kind;
        if (differs && collector.conflicts.length < 20) collector.conflicts.push(key);
      }
      collector.acknowledged.set(key, point);
    }
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const received = await receive(request);
    collector.requests.push(received);
    const answer = await collector.onRequest(received);
    if (response.destroyed) return;
    received.answer = answer.kind;
    if (answer.kind === "accept") store(received.points);
    if (answer.kind === "partial") store(received.points.filter((point) => !answer.refuses(point)));
    if ((answer.kind === "reset" || answer.kind === "raw") && answer.isStored) store(received.points);
    received.status = give(response, answer, received);
  };

  const collector: OtlpCollector = {
    url: "",
    requests: [],
    acknowledged: new Map(),
    markers: new Map(),
    repeats: 0,
    conflicts: [],
    onRequest: () => ACCEPT,
    start: async () => {
      server.listen(collector.url === "" ? 0 : Number(new URL(collector.url).port), "127.0.0.1");
      await once(server, "listening");
      collector.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    stop: async () => {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  await collector.start();
  return collector;
}

async function receive(request: IncomingMessage): Promise<ReceivedRequest> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  const raw = Buffer.concat(parts);
  const body = request.headers["content-encoding"] === "gzip" ? gunzipSync(raw) : raw;
  const points = codec.decodeRequest(body).resourceMetrics.flatMap(({ resource, scopeMetrics }) => {
    const clusterId = textsOf(resource?.attributes ?? [])["cluster_id"] ?? "";
    return scopeMetrics.flatMap(({ metrics }) => metrics.flatMap((metric) => toPoints(metric, clusterId)));
  });
  return {
    points,
    clusterIds: new Set(points.map((point) => point.clusterId)),
    headers: request.headers,
    bytes: body.length,
    answer: "none",
    status: undefined,
  };
}

function toPoints(metric: Metric, clusterId: string): ReceivedPoint[] {
  return numberPoints(metric).map((point) => {
    return {
      metric: metric.name,
      kind: metric.sum ? "counter" : "gauge",
      labels: textsOf(point.attributes),
      timestampMs: Number(BigInt(point.timeUnixNano.toString()) / 1_000_000n),
      value: point.asDouble,
      unit: metric.unit,
      clusterId,
      isMarker: point.flags === 1,
    };
  });
}

function numberPoints(metric: Metric): NumberDataPoint[] {
  if (metric.sum && !(metric.sum.isMonotonic && metric.sum.aggregationTemporality === 2)) {
    throw new Error(`${metric.name} is not a cumulative monotonic Sum`);
  }
  return metric.sum?.dataPoints ?? metric.gauge?.dataPoints ?? [];
}

function textsOf(attributes: readonly { key: string; value: { stringValue: string } | null }[]) {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value?.stringValue ?? ""]));
}

/** Sends the answer; its status, or undefined when there is none to tell. */
function give(response: ServerResponse, answer: Answer, received: ReceivedRequest): number | undefined {
  const send = (status: number, type: string, body: Uint8Array | string, headers = {}): number => {
    response.writeHead(status, { "content-type": type, ...headers });
    response.end(body);
    return status;
  };
  switch (answer.kind) {
    case "accept":
      return send(200, "application/x-protobuf", codec.encodeResponse(0, ""));
    case "partial": {
      const refused = received.points.filter(answer.refuses).length;
      return send(200, "application/x-protobuf", codec.encodeResponse(refused, answer.message));
    }
    case "impossible":
      return send(200, "application/x-protobuf", codec.encodeResponse(answer.count, "odd"));
    case "status": {
      const body = codec.encodeStatus(3, answer.message ?? "");
      return send(answer.status, "application/x-protobuf", body, answer.headers);
    }
    case "page":
      return send(200, "text/html; charset=utf-8", PAGE);
    case "reset":
      breakConnection(response, answer.when);
      break;
    case "raw":
      if (response.socket) void sendRaw(response.socket, answer.raw, systemClock);
      break;
    case "hang":
      break;
  }
  return undefined;
}

function breakConnection(response: ServerResponse, when: "before" | "within"): void {
  const { socket } = response;
  if (when === "before") {
    socket?.resetAndDestroy();
    return;
  }
  response.writeHead(200, { "content-type": "application/x-protobuf", "content-length": 100 });
  response.write("x", () => socket?.resetAndDestroy());
}
