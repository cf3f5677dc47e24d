/**
 * Samples as columns. A value is the bits that Prometheus stored, so that stale markers and other NaN keep their payload, which a number of JavaScript need not:
 * value i is `bits[2i]` (the low half) and `bits[2i + 1]`; `values` are the same bytes as numbers. All machines that Node runs this program on are little-endian.
 */
export interface SampleColumns {
  count: number;
  /** Ms since the epoch. */
  timestamps: Float64Array;
  values: Float64Array;
  bits: Uint32Array;
}

const FIRST_SAMPLES = 1024;

export function createSampleColumns(): SampleColumns {
  return { count: 0, ...allocate(FIRST_SAMPLES) };
}

function allocate(capacity: number) {
  const values = new Float64Array(capacity);
  return { timestamps: new Float64Array(capacity), values, bits: new Uint32Array(values.buffer) };
}

/** Makes room for that many further samples. */
export function makeRoomFor(columns: SampleColumns, samples: number): void {
  const { count, timestamps, bits } = columns;
  if (count + samples <= timestamps.length) return;
  const larger = allocate(Math.max(count + samples, timestamps.length * 2));
  larger.timestamps.set(timestamps.subarray(0, count));
  larger.bits.set(bits.subarray(0, count * 2));
  Object.assign(columns, larger);
}
