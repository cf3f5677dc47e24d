/** A number of 64 bits, as two int32. */
export interface Int64 {
  high: number;
  low: number;
}

/** As an int64, exact below 2^53 on both sides of 0. */
export function signed64({ high, low }: Int64): number {
  return high * 4_294_967_296 + (low >>> 0);
}

/** As a uint64, exact below 2^53. */
export function unsigned64({ high, low }: Int64): number {
  return (high >>> 0) * 4_294_967_296 + (low >>> 0);
}

/** Takes the sign out of the lowest bit ("zigzag"): protobuf's sint64, Go's binary.ReadVarint. */
export function unzigzag(number: Int64): void {
  const { low, high } = number;
  const sign = -(low & 1);
  number.low = ((low >>> 1) | (high << 31)) ^ sign;
  number.high = (high >>> 1) ^ sign;
}
