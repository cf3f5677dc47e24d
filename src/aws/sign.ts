import { createHash, createHmac } from "node:crypto";
import type { Secret } from "#lib/secret.ts";

export interface AwsKeys {
  accessKeyId: string;
  secretAccessKey: Secret;
  /** Of temporary keys. */
  sessionToken?: Secret;
}

/** A request as it is sent: the URL with the encoding that it has on the wire. */
export interface RequestToSign {
  method: string;
  url: string;
  /** Those that are signed besides `host` and the signature's own; names in any case. */
  headers: Readonly<Record<string, string>>;
  body: string;
}

export interface SigningScope {
  region: string;
  /** "aps" for Amazon Managed Service for Prometheus. */
  service: string;
  keys: AwsKeys;
  /** Unix time in ms. AWS accepts five minutes of difference. */
  atMs: number;
}

const ALGORITHM = "AWS4-HMAC-SHA256";

/**
 * The headers that sign a request with AWS Signature Version 4 (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html):
 * x-amz-date, authorization and, for temporary keys, x-amz-security-token. Not for S3, which encodes paths once.
 */
export function signRequest(request: RequestToSign, scope: SigningScope): Record<string, string> {
  const { region, service, keys, atMs } = scope;
  const time = new Date(atMs).toISOString().replaceAll(/[-:]|\.\d{3}/g, "");
  const date = time.slice(0, 8);
  const own = {
    "x-amz-date": time,
    ...(keys.sessionToken ? { "x-amz-security-token": keys.sessionToken.expose() } : {}),
  };
  const { text, signedHeaders } = canonicalRequest(request, own);
  const credentialScope = `${date}/${region}/${service}/aws4_request`;
  const toSign = [ALGORITHM, time, credentialScope, sha256(text)].join("\n");
  const secret = `AWS4${keys.secretAccessKey.expose()}`;
  const key = [date, region, service, "aws4_request"].reduce<string | Buffer>(hmac, secret);
  const signature = hmac(key, toSign).toString("hex");
  const credential = `${keys.accessKeyId}/${credentialScope}`;
  const authorization = `${ALGORITHM} Credential=${credential}, SignedHeaders=${signedHeaders}, Signature=${signature}`;
  return { ...own, authorization };
}

function canonicalRequest(
  { method, url, headers, body }: RequestToSign,
  own: Readonly<Record<string, string>>,
): { text: string; signedHeaders: string } {
  const { host, pathname, search } = new URL(url);
  const entries = Object.entries({ ...headers, host, ...own })
    .map(([name, value]) => [name.toLowerCase(), value.trim().replaceAll(/ +/g, " ")] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  const signedHeaders = entries.map(([name]) => name).join(";");
  const lines = entries.map(([name, value]) => `${name}:${value}\n`).join("");
  const path = pathname.split("/").map(encode).join("/");
  const text = [method, path, canonicalQuery(search), lines, signedHeaders, sha256(body)].join("\n");
  return { text, signedHeaders };
}

/** Names and values decoded and encoded anew, then sorted by their encoded form. */
function canonicalQuery(search: string): string {
  const pairs = search.slice(1).split("&").filter(Boolean);
  return pairs
    .map((pair) => {
      const [name = "", ...value] = pair.split("=");
      return [name, value.join("=")].map((part) => encode(decodeURIComponent(part))) as [string, string];
    })
    .toSorted(([a, x], [b, y]) => (a === b ? compare(x, y) : compare(a, b)))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** RFC 3986: everything but the unreserved characters. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
