import { BridgeError, type ErrorCode } from "#errors/error.ts";
import type { ServerCertificate } from "#tunnel/probe.ts";
import { passed, warning, type Finding } from "./step-runner.ts";

/** Whose certificate it is, and the remedies where it is wrong. */
export interface CertificateUse {
  code: ErrorCode;
  /** "the API server" */
  owner: string;
  /** After the names that it is for. */
  otherName: string;
  renew: string;
  unknownIssuer: string;
  unverified: string;
}

export const API_SERVER_CERTIFICATE: CertificateUse = {
  code: "cluster_tls_untrusted",
  owner: "the API server",
  otherName: "use one of them as the kubeconfig's server, or name one in tls-server-name.",
  renew: "Renew the API server's certificate (kubeadm certs renew apiserver).",
  unknownIssuer:
    "Put the CA that issued the API server's certificate into the kubeconfig's certificate-authority-data.",
  unverified:
    "Anyone between this program and the API server can read the token: set validate_certs: true (VALIDATE_CERTS) and give the CA in certificate-authority-data.",
};

/** Of a Prometheus without a tunnel. */
export const PROMETHEUS_CERTIFICATE: CertificateUse = {
  code: "prometheus_tls_untrusted",
  owner: "Prometheus",
  otherName: "use one of them as the host of prometheus.url.",
  renew: "Renew the certificate of the server at prometheus.url.",
  unknownIssuer: "Put the CA that issued the certificate into prometheus.ca.",
  unverified:
    "Anyone between this program and Prometheus can read the credentials: set validate_certs: true (VALIDATE_CERTS) and give the CA in prometheus.ca.",
};

const DAY_MS = 86_400_000;
const EXPIRES_SOON_DAYS = 14;

/** The finding about a server's certificate. Throws `use.code` when it is not trusted though it must be. */
export function judgeCertificate(
  use: CertificateUse,
  certificate: ServerCertificate,
  validateCerts: boolean,
  now: number,
): Finding<undefined> {
  const { problem, validUntil } = certificate;
  const details = {
    protocol: certificate.protocol,
    subject: certificate.subject,
    issuers: certificate.issuers,
    dns_names: certificate.dnsNames,
    ip_addresses: certificate.addresses,
    expires_at: new Date(validUntil).toISOString(),
  };
  if (problem !== undefined && validateCerts) {
    throw new BridgeError(use.code, `${possessive(use.owner)} certificate is not trusted (${problem})`, {
      hint: certificateHint(use, problem, certificate),
      details: { reason: problem, ...details },
    });
  }
  if (!validateCerts) {
    const verdict = problem === undefined ? "it would be trusted" : `it would be refused (${problem})`;
    return warning(undefined, `the certificate is not verified; ${verdict}`, {
      code: use.code,
      hint: use.unverified,
      details,
    });
  }
  const days = Math.floor((validUntil - now) / DAY_MS);
  if (days >= EXPIRES_SOON_DAYS) {
    const issuer = certificate.issuers[0] ?? "nobody";
    return passed(undefined, `${certificate.protocol}, issued by ${issuer}`, details);
  }
  return warning(undefined, `${possessive(use.owner)} certificate expires in ${days} days`, {
    hint: `Renew ${possessive(use.owner)} certificate.`,
    details,
  });
}

function possessive(owner: string): string {
  return owner.endsWith("s") ? `${owner}'` : `${owner}'s`;
}

function certificateHint(
  use: CertificateUse,
  problem: string,
  { dnsNames, addresses }: ServerCertificate,
): string {
  if (problem === "ERR_TLS_CERT_ALTNAME_INVALID" || problem === "HOSTNAME_MISMATCH") {
    const names = dnsNames.join(", ") || "no DNS name";
    return `The certificate is for ${names} and ${addresses} IP addresses: ${use.otherName}`;
  }
  if (problem === "CERT_HAS_EXPIRED") return use.renew;
  if (problem === "CERT_NOT_YET_VALID") return `Check the clocks of this machine and of ${use.owner}.`;
  return use.unknownIssuer;
}
