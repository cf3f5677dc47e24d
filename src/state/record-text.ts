import { BridgeError } from "#errors/error.ts";

const KEY_LENGTH_MAX = 512;

/** A record's value as the JSON text that is stored. Throws BridgeError `internal` for a key or value that no store can keep. */
export function toRecordText(key: string, value: unknown, bytesMax: number): string {
  if (key.length === 0 || key.length > KEY_LENGTH_MAX) {
    throw new BridgeError("internal", `a state key has 1 to ${KEY_LENGTH_MAX} characters`);
  }
  const text: string | undefined = JSON.stringify(value);
  if (text === undefined) throw new BridgeError("internal", `the value of the record ${key} is not JSON`);
  if (Buffer.byteLength(text) > bytesMax) {
    throw new BridgeError("internal", `the record ${key} is larger than ${bytesMax} bytes`);
  }
  return text;
}
