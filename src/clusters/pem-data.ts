import { createPrivateKey, X509Certificate } from "node:crypto";

type Wanted = "certificate" | "private key";

/** Text of a kubeconfig, as YAML or JSON. */
const KUBECONFIG =
  /^\s*(?:\{|---|#[^\n]*\n|apiVersion:|kind:|clusters:|contexts:|users:|current-context:|preferences:)/;
const BASE64 = /^[A-Za-z0-9+/]{16,}={0,2}$/;

/** The bytes of a base64 text, broken into lines or not; undefined when it is something else or empty. */
export function fromBase64(text: string): Buffer | undefined {
  const packed = text.replaceAll(/\s+/g, "");
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(packed)) return undefined;
  return Buffer.from(packed, "base64");
}

/** Is this a kubeconfig that somebody encoded in base64 (once or more often)? */
export function isEncodedKubeconfig(text: string): boolean {
  const decoded = BASE64.test(text.replaceAll(/\s+/g, "")) ? fromBase64(text)?.toString("latin1") : undefined;
  return decoded !== undefined && (isKubeconfigText(decoded) || isEncodedKubeconfig(decoded));
}

function isKubeconfigText(text: string): boolean {
  return KUBECONFIG.test(text) && /\b(?:clusters|contexts|users|apiVersion)\b/.test(text);
}

/**
 * Why the value of a kubeconfig's *-data field can't be what is wanted there, as "is ..." or "has ...", with what to do; nothing when it may
 * be. Quotes nothing of it: it may be a secret in the wrong place.
 */
export function pemDataProblem(value: string, wanted: Wanted): string | undefined {
  if (value.includes("-----BEGIN ")) return "is PEM as it is: encode it in base64, once (base64 -w0 FILE)";
  if (isPath(value)) return "is a path: put the file's content there, in base64 (base64 -w0 FILE)";
  const bytes = fromBase64(value);
  if (bytes === undefined) return "must be base64";
  const text = bytes.toString("latin1");
  if (text.includes("-----BEGIN ")) return pemProblem(text, wanted);
  if (isKubeconfigText(text)) return `is a whole kubeconfig in base64: only the ${wanted} belongs there`;
  if (isEncodedPem(text)) return "is encoded in base64 twice: decode it once (base64 -d)";
  if (isEncodedKubeconfig(text))
    return `is a whole kubeconfig in base64, encoded twice: only the ${wanted} belongs there`;
  const der = derKind(bytes);
  if (der !== undefined) return derProblem(der, wanted);
  return wanted === "certificate"
    ? "has no PEM certificate in it"
    : "is not an unencrypted private key in PEM";
}

/** Base64 has slashes, but no dots. */
function isPath(value: string): boolean {
  return value.length <= 4096 && /^[~.]{0,2}\//.test(value) && value.includes(".");
}

function isEncodedPem(text: string): boolean {
  const inner = fromBase64(text)?.toString("latin1");
  return inner !== undefined && (inner.includes("-----BEGIN ") || isEncodedPem(inner));
}

function pemProblem(pem: string, wanted: Wanted): string | undefined {
  const kinds = new Set(
    [...pem.matchAll(/-----BEGIN ([A-Z0-9 ]{1,40})-----/g)].map(([, kind]) => kind ?? ""),
  );
  const hasKey = [...kinds].some((kind) => kind.endsWith("PRIVATE KEY"));
  if (wanted === "certificate") {
    if (kinds.has("CERTIFICATE")) return undefined;
    if (hasKey) return "has a private key in it instead of a certificate: are the two fields exchanged?";
    return kinds.has("CERTIFICATE REQUEST") || kinds.has("NEW CERTIFICATE REQUEST")
      ? "has a certificate request in it: put the certificate that was issued for it there"
      : "has no PEM certificate in it";
  }
  if (/^Proc-Type: 4,ENCRYPTED/m.test(pem) || kinds.has("ENCRYPTED PRIVATE KEY")) {
    return "is an encrypted private key: kubectl can't ask for its passphrase either (openssl pkey -in FILE)";
  }
  if (hasKey) return undefined;
  return kinds.has("CERTIFICATE")
    ? "has a certificate in it instead of a private key: are the two fields exchanged?"
    : "is not an unencrypted private key in PEM";
}

function derKind(bytes: Buffer): Wanted | undefined {
  // An ASN.1 sequence, the beginning of both.
  if (bytes[0] !== 0x30) return undefined;
  if (isReadable(() => new X509Certificate(bytes))) return "certificate";
  const types = ["pkcs8", "pkcs1", "sec1"] as const;
  const isKey = types.some((type) => isReadable(() => createPrivateKey({ key: bytes, format: "der", type })));
  return isKey ? "private key" : undefined;
}

function isReadable(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch {
    return false;
  }
}

function derProblem(found: Wanted, wanted: Wanted): string {
  if (found !== wanted) {
    return `has a ${found} in it instead of a ${wanted}: are the two fields exchanged?`;
  }
  const command =
    found === "certificate" ? "openssl x509 -inform der -in FILE" : "openssl pkey -inform der -in FILE";
  return `is DER: kubeconfigs have PEM in base64 (${command} | base64 -w0)`;
}
