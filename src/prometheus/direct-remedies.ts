import { BridgeError, ERRORS, type ErrorCode } from "#errors/error.ts";
import type { PrometheusClient } from "./client.ts";

/** The remedies of a Prometheus that is read without a tunnel: those of the codes speak of Services, ports and kubeconfigs. */
const REMEDIES: { [code in ErrorCode]?: string } = {
  cluster_unreachable:
    "Check that host and port of prometheus.url resolve and answer from here (firewall, VPN, NetworkPolicy egress).",
  cluster_timeout:
    "The server of prometheus.url did not accept a connection within METRICS_COLLECTION_TIMEOUT; check the address, firewalls and its load.",
  prometheus_unreachable:
    "The server of prometheus.url closed the connection: check the scheme and the port of the URL, the server's log, and whether it asks for a client certificate (prometheus.client_certificate).",
  prometheus_tls_untrusted:
    "Put the CA of this server's certificate into prometheus.ca; the certificate must be valid now, and for the host of prometheus.url. validate_certs: false turns the check off, but then anyone on the network path can read the credentials.",
  prometheus_tls_required: "Begin prometheus.url with https://.",
  prometheus_login_required:
    "Point prometheus.url at Prometheus itself, behind the login proxy, or give what the proxy accepts from programs: prometheus.bearer_token, basic_auth, headers or client_certificate.",
  prometheus_unauthorized:
    "Give the credentials that this Prometheus requires: prometheus.bearer_token, basic_auth, headers or client_certificate.",
  prometheus_unexpected_answer:
    "Another program than Prometheus answers at prometheus.url; check its host, its port and the path in front of /api/v1.",
};

/** The error with a remedy that speaks of prometheus.url, unless it has a more precise one. */
export function withDirectRemedy(thrown: unknown): unknown {
  if (!(thrown instanceof BridgeError) || thrown.hint !== ERRORS[thrown.code].remedy) return thrown;
  const { code, message, details, httpStatus } = thrown;
  const hint = REMEDIES[code];
  if (hint === undefined) return thrown;
  return new BridgeError(code, message, { cause: thrown, hint, httpStatus, ...(details ? { details } : {}) });
}

type Method = (...args: unknown[]) => Promise<unknown>;

/** The client of a Prometheus at a URL: its errors name the URL's remedies. */
export function withDirectRemedies(client: PrometheusClient): PrometheusClient {
  const methods = Object.entries(client as unknown as Record<string, Method>).map(([name, run]) => {
    const wrapped: Method = async (...args) => {
      try {
        return await run(...args);
      } catch (error) {
        throw withDirectRemedy(error);
      }
    };
    return [name, wrapped] as const;
  });
  return Object.fromEntries(methods) as unknown as PrometheusClient;
}
