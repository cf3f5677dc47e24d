import { createPrivateKey, type KeyObject } from "node:crypto";
import { z } from "zod";
import { mappingField } from "./cluster-fields.ts";
import { readCertificates } from "./pem.ts";

const PEM_CHARS_MAX = 64 * 1024;

const pemText = (what: string) =>
  z
    .string(`must be ${what} in PEM`)
    .min(1, "must not be empty")
    .max(PEM_CHARS_MAX, `must have at most ${PEM_CHARS_MAX} characters`);

/** A client certificate and its key, both PEM. Its problems quote nothing of it. */
export const clientCertificateField = mappingField(
  { cert: pemText("a certificate"), key: pemText("a private key") },
  "cert and key",
).superRefine(({ cert, key }, context) => {
  const message = clientCertificateProblem(cert, key);
  if (message !== undefined) context.addIssue({ code: "custom", message });
});

function clientCertificateProblem(cert: string, key: string): string | undefined {
  const read = readCertificates(cert);
  if (!read.ok) return `has a cert that ${read.reason}`;
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(key);
  } catch {
    return "has a key that is not an unencrypted private key in PEM";
  }
  return read.certificates[0]!.checkPrivateKey(privateKey)
    ? undefined
    : "has a key that does not belong to its cert";
}

/** Nothing but the certificates of a PEM text that was checked: a private key that was pasted along is none. */
export function onlyCertificates(pem: string): string {
  const read = readCertificates(pem);
  return read.ok ? read.certificates.map((certificate) => certificate.toString()).join("") : "";
}

/** Nothing but the private key of a PEM text that was checked. */
export function onlyKey(pem: string): string {
  return createPrivateKey(pem).export({ type: "pkcs8", format: "pem" }) as string;
}
