import { X509Certificate } from "node:crypto";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const CERTIFICATES_MAX = 100;

/** The certificates of a PEM text, at least one; or why it can't be used, without any of its text. */
export function readCertificates(
  pem: string,
): { ok: true; certificates: X509Certificate[] } | { ok: false; reason: string } {
  const blocks = pem.match(CERTIFICATE) ?? [];
  if (blocks.length === 0) return { ok: false, reason: "has no PEM certificate in it" };
  if (blocks.length > CERTIFICATES_MAX) {
    return { ok: false, reason: `has more than ${CERTIFICATES_MAX} certificates in it` };
  }
  try {
    return { ok: true, certificates: blocks.map((block) => new X509Certificate(block)) };
  } catch {
    return { ok: false, reason: "has a certificate that can't be read" };
  }
}
