import type { Flood } from "./flood.ts";
import type { RawAnswer } from "./raw-answer.ts";
import type { RemoteReadFlood } from "./remote-read-flood.ts";

/**
 * Selects the matching requests that a fault hits: the first `skip` pass, then `times` are hit (default: all).
 */
interface Limits {
  skip?: number;
  times?: number;
}

/**
 * The API server. `resource` limits a fault to one, for example "services", "endpointslices", "nodes",
 * "pods/portforward".
 */
export type ApiFault = Limits & { layer: "api"; resource?: string } & (
    | { kind: "refuse" }
    /** Accepts connections and sends nothing, not even in TLS. */
    | { kind: "mute" }
    | { kind: "tls"; problem: "untrusted" | "expired" | "wrong-name" }
    /** Reads the request and never answers. */
    | { kind: "hang" }
    | { kind: "slow"; delayMs: number }
    | { kind: "reset" }
    | { kind: "status"; status: number; message?: string }
    /** Answers something that is not Kubernetes'. */
    | { kind: "answer"; status?: number; contentType?: string; body: string }
    /** A body without sense, far larger than any of Kubernetes. */
    | { kind: "flood"; flood: Flood }
    /** These bytes in place of an HTTP answer. */
    | { kind: "raw"; raw: RawAnswer }
  );

/** The port-forward WebSocket. `afterBytes` counts data towards the client. */
export type TunnelFault = Limits & { layer: "tunnel" } & (
    | { kind: "refuse"; status: number; message?: string }
    /** The upgrade request is never answered. */
    | { kind: "hang-upgrade" }
    /** All connections of the cluster share a link of this speed and round trip. */
    | { kind: "slow"; bytesPerSecond: number; roundTripMs: number }
    /** The WebSocket opens and no port message ever comes. */
    | { kind: "hang" }
    /** Port messages come, then nothing, as when the Pod's process stands still. */
    | { kind: "stall"; afterBytes: number }
    /** A WebSocket close frame. */
    | { kind: "close"; afterBytes: number; code?: number }
    /** The TCP connection ends without a close frame. */
    | { kind: "cut"; afterBytes: number }
    | { kind: "reset"; afterBytes: number }
    | { kind: "error-text"; text: string; afterBytes?: number }
    /** Empty binary frames between the others: legal, must be ignored. */
    | { kind: "empty-frames" }
    /** Each port message in two frames: legal. */
    | { kind: "split-port" }
    | { kind: "text-frame" }
    | { kind: "unknown-channel"; channel?: number }
    | { kind: "wrong-port"; port?: number }
    /** These bytes in place of an answer to the upgrade request, or, with `after: "ports"`, as frames behind the port messages. */
    | { kind: "raw"; raw: RawAnswer; after?: "request" | "ports" }
  );

/** An answer of remote read that no Prometheus gives, or seldom. */
export interface RemoteReadFault {
  kind: "remote-read";
  /**
   * samples: samples though chunks are asked for (legal); content-type: a right body that is called text;
   * checksum: each frame's is wrong; frame-size: each frame is called 4 GB long; bomb: the block of samples is
   * called 4 GB long; chunk-count: each chunk says that it holds 65,535 samples; encoding: the chunks' encoding is
   * one that nobody knows; query-index: the frames belong to a query that was not asked.
   */
  problem:
    | "samples"
    | "content-type"
    | "checksum"
    | "frame-size"
    | "bomb"
    | "chunk-count"
    | "encoding"
    | "query-index";
}

/**
 * Prometheus' HTTP API. `path` (exact) and `query` (a part of the PromQL; of remote read, of its matchers as a
 * selector: `{__name__="up"}`) limit a fault to some requests.
 */
export type PrometheusFault = Limits & { layer: "prometheus"; path?: string; query?: string } & (
    | { kind: "not-ready" }
    | { kind: "html"; status?: number }
    | { kind: "hang" }
    | { kind: "slow"; delayMs: number }
    /** The body comes in pieces of `bytes`, `delayMs` apart. */
    | { kind: "drip"; bytes: number; delayMs: number }
    /**
     * The body ends after `atByte` bytes. chunked and length: the connection breaks, which HTTP notices;
     * close: a body without a length that
     * just ends; complete: well-formed HTTP around half an answer.
     */
    | { kind: "truncate"; atByte: number; how: "chunked" | "length" | "close" | "complete" }
    | { kind: "status"; status: number; body?: string }
    | { kind: "error"; status: number; errorType: string; message: string }
    /** As --query.max-samples would, and --storage.remote.read-sample-limit: queries with more samples fail. */
    | { kind: "max-samples"; samples: number }
    /** Asks for exactly this `authorization` header: what comes without it is answered 401. */
    | { kind: "authorization"; header: string }
    /** A body without sense, far larger than is sane. */
    | { kind: "flood"; flood: Flood }
    /** These bytes in place of an HTTP answer. */
    | { kind: "raw"; raw: RawAnswer }
    /** A body that is JSON, but no answer of the API. */
    | { kind: "wrong-shape"; body?: string }
    /** The same content as another backend writes it: more members, another order, or white space. */
    | { kind: "layout"; layout: "extra-members" | "reordered" | "spaced" }
    /** Each matrix that has a series begins with one more: this JSON object as its `metric`, with the samples of the next one. */
    | { kind: "extra-series"; metric: string }
    /** The first series of each matrix also has native histogram samples. */
    | { kind: "histograms" }
    /** In the middle of the body the Pod is replaced: its connections break, its UID changes. */
    | { kind: "pod-restart"; afterBytes: number }
    | RemoteReadFault
    /** Of remote read alone. */
    | { kind: "remote-read-flood"; flood: RemoteReadFlood }
  );

export type Fault = ApiFault | TunnelFault | PrometheusFault;
