import { generate } from "selfsigned";
import type { Certificate } from "./certificates.ts";

const DAY_MS = 86_400_000;

export interface CertificateOptions {
  /** Its issuer; absent: self-signed. */
  issuer?: Certificate;
  /** A CA's. Default: a server's. */
  isAuthority?: boolean;
  /** Its end was yesterday. */
  isExpired?: boolean;
  /** DNS name and, for 127.0.0.1, the address that it is for. */
  host?: string;
}

/** A certificate as real PKIs make them: a CA with its constraints, or a server certificate that is no CA. */
export async function issueCertificate(name: string, options: CertificateOptions = {}): Promise<Certificate> {
  const { issuer, isAuthority = false, isExpired = false, host = "127.0.0.1" } = options;
  const names = host === "127.0.0.1" ? [{ type: 7 as const, ip: host }] : [{ type: 2 as const, value: host }];
  const made = await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: new Date(Date.now() - 3 * DAY_MS),
    notAfterDate: new Date(Date.now() + (isExpired ? -DAY_MS : 365 * DAY_MS)),
    extensions: isAuthority
      ? [
          { name: "basicConstraints", cA: true, critical: true },
          { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
        ]
      : [
          { name: "basicConstraints", cA: false, critical: true },
          { name: "keyUsage", digitalSignature: true, critical: true },
          { name: "extKeyUsage", serverAuth: true, clientAuth: true },
          { name: "subjectAltName", altNames: names },
        ],
    ...(issuer ? { ca: { cert: issuer.certPem, key: issuer.keyPem } } : {}),
  });
  return { certPem: made.cert, keyPem: made.private };
}
