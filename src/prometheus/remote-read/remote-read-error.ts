/** Why an answer to a remote read can't be used. */
export type RemoteReadReason =
  /** It ends in the middle. */
  | "truncated"
  /** A frame's CRC-32C does not match its bytes. */
  | "checksum"
  /** Its bytes break a format: protobuf, snappy, or a chunk's encoding. */
  | "invalid"
  /** A chunk has an encoding that this program does not know. */
  | "unknown_encoding"
  /** It is larger than a limit. */
  | "too_large";

/**
 * The only error that the decoders of remote read answers throw, whatever the bytes are. The message has no text of the answer.
 */
export class RemoteReadError extends Error {
  readonly reason: RemoteReadReason;
  /** A text that stands where a frame should: Prometheus' error when it fails in the middle of an answer. Remote text: hide secrets before it is shown. */
  readonly remoteText: string | undefined;

  constructor(reason: RemoteReadReason, message: string, remoteText?: string) {
    super(message);
    this.name = "RemoteReadError";
    this.reason = reason;
    this.remoteText = remoteText;
  }
}

export const invalid = (message: string): RemoteReadError => new RemoteReadError("invalid", message);
export const tooLarge = (message: string): RemoteReadError => new RemoteReadError("too_large", message);
export const truncated = (message: string): RemoteReadError => new RemoteReadError("truncated", message);
