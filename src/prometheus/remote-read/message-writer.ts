export type LabelPairs = Iterable<readonly [name: string, value: string]>;

/** A field of protobuf that has a length: its number, below 16, and its bytes. */
export function bytesField(number: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of((number << 3) | 2, ...varint(body.length)), body]);
}

/** A field with a number that is not negative. */
export function numberField(number: number, value: number): Buffer {
  return Buffer.of(number << 3, ...varint(value));
}

/** Of a safe integer that is not negative: seven bits a byte, the lowest first. */
export function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  bytes.push(rest);
  return bytes;
}

/** The labels of a prometheus.TimeSeries or ChunkedSeries, field 1 of both. */
export function labelFields(labels: LabelPairs): Buffer {
  const fields: Buffer[] = [];
  for (const [name, value] of labels)
    fields.push(
      bytesField(1, Buffer.concat([bytesField(1, Buffer.from(name)), bytesField(2, Buffer.from(value))])),
    );
  return Buffer.concat(fields);
}
