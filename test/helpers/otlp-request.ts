import protobuf from "protobufjs";

const { Writer } = protobuf;
type Write = (writer: protobuf.Writer) => void;

/** An OTLP message written field by field from the specification's numbers, independent of the receiver's descriptor. */
function message(writer: protobuf.Writer, field: number, write: Write): void {
  writer.uint32((field << 3) | 2).fork();
  write(writer);
  writer.ldelim();
}

const FIXED64 = 1;

function fixed64(writer: protobuf.Writer, field: number, value: bigint): void {
  writer.uint32((field << 3) | FIXED64);
  writer.fixed32(Number(value & 0xffff_ffffn));
  writer.fixed32(Number(value >> 32n));
}

function text(writer: protobuf.Writer, field: number, value: string): void {
  writer.uint32((field << 3) | 2).string(value);
}

function attributes(writer: protobuf.Writer, field: number, values: Record<string, string>): void {
  for (const [key, value] of Object.entries(values)) {
    message(writer, field, (pair) => {
      text(pair, 1, key);
      message(pair, 2, (any) => text(any, 1, value));
    });
  }
}

export interface TestPoint {
  labels?: Record<string, string>;
  /** ns; left out: not sent. */
  time?: bigint;
  start?: bigint;
  /** The 64 bits of the double. */
  bits?: bigint;
  int?: bigint;
  /** 1: NO_RECORDED_VALUE, a stale marker. */
  flags?: number;
}

export interface TestMetric {
  name: string;
  unit?: string;
  kind: "gauge" | "sum";
  points: TestPoint[];
}

function writeNumberPoint(writer: protobuf.Writer, point: TestPoint): void {
  attributes(writer, 7, point.labels ?? {});
  if (point.start !== undefined) fixed64(writer, 2, point.start);
  if (point.time !== undefined) fixed64(writer, 3, point.time);
  if (point.bits !== undefined) fixed64(writer, 4, point.bits);
  if (point.int !== undefined) fixed64(writer, 6, BigInt.asUintN(64, point.int));
  if (point.flags !== undefined) writer.uint32(8 << 3).uint32(point.flags);
}

/** ExportMetricsServiceRequest of one resource and scope. `raw` writes further Metric messages (field 2 of ScopeMetrics). */
export function toOtlpRequest(
  resource: Record<string, string>,
  metrics: readonly TestMetric[],
  raw?: Write,
  scopeAttributes: Record<string, string> = {},
): Buffer {
  const writer = Writer.create();
  message(writer, 1, (resourceMetrics) => {
    message(resourceMetrics, 1, (body) => attributes(body, 1, resource));
    message(resourceMetrics, 2, (scope) => {
      message(scope, 1, (body) => {
        text(body, 1, "test-scope");
        attributes(body, 3, scopeAttributes);
      });
      for (const metric of metrics) message(scope, 2, (body) => writeMetric(body, metric));
      raw?.(scope);
    });
  });
  return Buffer.from(writer.finish());
}

function writeMetric(writer: protobuf.Writer, metric: TestMetric): void {
  text(writer, 1, metric.name);
  text(writer, 3, metric.unit ?? "");
  message(writer, metric.kind === "gauge" ? 5 : 7, (data) => {
    for (const point of metric.points) message(data, 1, (body) => writeNumberPoint(body, point));
    if (metric.kind === "sum")
      data
        .uint32(2 << 3)
        .int32(2)
        .uint32(3 << 3)
        .bool(true);
  });
}

export function bitsOf(value: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}

export type TestValue =
  | { string: string }
  | { bool: boolean }
  | { int: bigint }
  | { double: number }
  | { bytes: number[] }
  | { array: (TestValue | undefined)[] }
  | { map: [string, TestValue][] };

/** A request whose resource has one attribute with this value. */
export function toOtlpAnyValue(value: TestValue | undefined): Buffer {
  const writer = Writer.create();
  message(writer, 1, (resourceMetrics) =>
    message(resourceMetrics, 1, (resource) =>
      message(resource, 1, (pair) => {
        text(pair, 1, "key");
        if (value !== undefined) message(pair, 2, (any) => writeValue(any, value));
      }),
    ),
  );
  return Buffer.from(writer.finish());
}

function writeValue(writer: protobuf.Writer, value: TestValue): void {
  if ("string" in value) text(writer, 1, value.string);
  else if ("bool" in value) writer.uint32(2 << 3).bool(value.bool);
  else if ("int" in value) writer.uint32(3 << 3).int64(String(value.int));
  else if ("double" in value) fixed64(writer, 4, bitsOf(value.double));
  else if ("bytes" in value) writer.uint32((7 << 3) | 2).bytes(Uint8Array.from(value.bytes));
  else if ("array" in value) {
    message(writer, 5, (list) => {
      for (const item of value.array) message(list, 1, (any) => item && writeValue(any, item));
    });
  } else {
    message(writer, 6, (list) => {
      for (const [key, item] of value.map) {
        message(list, 1, (pair) => {
          text(pair, 1, key);
          message(pair, 2, (any) => writeValue(any, item));
        });
      }
    });
  }
}

function exemplar(writer: protobuf.Writer, field: number): void {
  message(writer, field, (body) => {
    attributes(body, 7, { user: "u" });
    fixed64(body, 2, 1_700_000_000_000_000_007n);
    fixed64(body, 3, bitsOf(2.5));
    body.uint32((4 << 3) | 2).bytes(Uint8Array.from({ length: 8 }, (_, index) => index + 1));
    body.uint32((5 << 3) | 2).bytes(Uint8Array.from({ length: 16 }, (_, index) => index));
  });
}

function packed64(writer: protobuf.Writer, field: number, values: readonly bigint[]): void {
  message(writer, field, (body) => {
    for (const value of values) {
      body.fixed32(Number(value & 0xffff_ffffn));
      body.fixed32(Number(value >> 32n));
    }
  });
}

/** One Metric each of the kinds histogram (h), exponential histogram (e) and summary (q), with one point labelled le="x". */
export function writeOtherKinds(scope: protobuf.Writer, time: bigint): void {
  const labels = { le: "x" };
  message(scope, 2, (metric) => {
    text(metric, 1, "h");
    message(metric, 9, (histogram) => {
      message(histogram, 1, (point) => {
        attributes(point, 9, labels);
        fixed64(point, 3, time);
        fixed64(point, 4, 2n ** 64n - 1n);
        fixed64(point, 5, bitsOf(7.5));
        packed64(point, 6, [1n, 2n ** 53n + 1n]);
        packed64(point, 7, [bitsOf(0.25)]);
        exemplar(point, 8);
        fixed64(point, 11, bitsOf(-1));
        fixed64(point, 12, bitsOf(9));
      });
      histogram.uint32(2 << 3).int32(1);
    });
  });
  message(scope, 2, (metric) => {
    text(metric, 1, "e");
    message(metric, 10, (histogram) => {
      message(histogram, 1, (point) => {
        attributes(point, 1, labels);
        fixed64(point, 3, time);
        fixed64(point, 4, 3n);
        point.uint32(6 << 3).sint32(-4);
        fixed64(point, 7, 1n);
        message(point, 8, (buckets) => {
          buckets.uint32(1 << 3).sint32(-2);
          message(buckets, 2, (counts) => counts.uint64(1).uint64(300));
        });
        exemplar(point, 11);
      });
      histogram.uint32(2 << 3).int32(2);
    });
  });
  message(scope, 2, (metric) => {
    text(metric, 1, "q");
    message(metric, 11, (summary) => {
      message(summary, 1, (point) => {
        attributes(point, 7, labels);
        fixed64(point, 3, time);
        fixed64(point, 4, 4n);
        fixed64(point, 5, bitsOf(8));
        for (const [quantile, value] of [
          [0.5, 2],
          [0.99, Number.NaN],
        ] as const) {
          message(point, 6, (pair) => {
            fixed64(pair, 1, bitsOf(quantile));
            fixed64(pair, 2, bitsOf(value));
          });
        }
      });
    });
  });
}
