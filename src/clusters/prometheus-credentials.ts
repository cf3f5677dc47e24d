import { z } from "zod";
import { createSecret, secretsOfHeader, type Secret } from "#lib/secret.ts";
import { clientCertificateField, onlyCertificates, onlyKey } from "./client-certificate.ts";
import { mappingField } from "./cluster-fields.ts";
import type { PrometheusCredentials, PrometheusHeader } from "./cluster.ts";
import { sigv4Field, toAwsAuthentication, toSigv4Fields, type Sigv4Fields } from "./sigv4.ts";
import { hasAuthorization, headerName, headersProblem, headerValue } from "./prometheus-headers.ts";

const TOKEN_MAX = 16 * 1024;
const WORD_MAX = 1024;

/** RFC 7617 section 2: no control characters, and no colon in the user name. */
const textMatching = (name: RegExp, allowed: string) =>
  z
    .string("must be a text")
    .min(1, "must not be empty")
    .max(WORD_MAX, `must have at most ${WORD_MAX} characters`)
    .regex(name, allowed);

/** Credentials for a Prometheus that requires authentication, as files and requests name them; at most one of the first two. */
export const prometheusCredentialFields = {
  bearer_token: z
    .string("must be a text")
    .min(1, "must not be empty")
    .max(TOKEN_MAX, `must have at most ${TOKEN_MAX} characters`)
    .regex(/^[\x21-\x7e]*$/, "must be printable ASCII without spaces")
    .optional(),
  basic_auth: mappingField(
    {
      username: textMatching(/^[^\p{Cc}:]*$/u, "must not have a colon or control characters"),
      password: textMatching(/^\P{Cc}*$/u, "must not have control characters"),
    },
    "username and password",
  ).optional(),
  headers: z
    .record(
      headerName,
      headerValue,
      "must be a mapping of header names to texts, such as X-Scope-OrgID: my-tenant",
    )
    .superRefine((headers, context) => {
      const message = headersProblem(headers);
      if (message !== undefined) context.addIssue({ code: "custom", message });
    })
    .optional(),
  client_certificate: clientCertificateField.optional(),
  sigv4: sigv4Field.optional(),
};

export interface CredentialFields {
  bearer_token?: string | undefined;
  basic_auth?: { username: string; password: string } | undefined;
  headers?: Record<string, string> | undefined;
  client_certificate?: { cert: string; key: string } | undefined;
  sigv4?: Sigv4Fields | undefined;
}

/** Fields that each make an Authorization header. */
const AUTH_FIELDS = ["bearer_token", "basic_auth", "sigv4"] as const;

/** Two fields that contradict each other, as the end of a sentence about `prometheus`; undefined when none do. */
export function contradictionOf(fields: CredentialFields): string | undefined {
  const given = AUTH_FIELDS.filter((name) => fields[name] !== undefined);
  if (given.length > 1) return `has ${given.join(" and ")}: give one of them`;
  return given.length > 0 && hasAuthorization(fields.headers)
    ? "has an Authorization in headers besides bearer_token, basic_auth or sigv4: give one of them"
    : undefined;
}

/** For zod's superRefine. */
export function refuseContradiction(fields: CredentialFields, context: z.RefinementCtx): void {
  const message = contradictionOf(fields);
  if (message !== undefined) context.addIssue({ code: "custom", message });
}

/** The checked fields as credentials; undefined when there are none. */
export function toPrometheusCredentials(fields: CredentialFields): PrometheusCredentials | undefined {
  const headers = Object.entries(fields.headers ?? {}).map(([name, value]): PrometheusHeader => ({
    name,
    value: createSecret(value),
  }));
  const certificate = fields.client_certificate;
  const credentials: PrometheusCredentials = {
    ...toAuth(fields),
    ...(headers.length > 0 ? { headers } : {}),
    ...(certificate
      ? {
          clientCertificate: {
            cert: onlyCertificates(certificate.cert),
            key: createSecret(onlyKey(certificate.key)),
          },
        }
      : {}),
  };
  const isNothing = credentials.kind === "none" && headers.length === 0 && !certificate;
  return isNothing ? undefined : credentials;
}

function toAuth({ bearer_token, basic_auth, sigv4 }: CredentialFields): PrometheusCredentials {
  if (sigv4 !== undefined) return { kind: "sigv4", ...toAwsAuthentication(sigv4) };
  if (bearer_token !== undefined) return { kind: "bearer", token: createSecret(bearer_token) };
  if (!basic_auth) return { kind: "none" };
  const { username, password } = basic_auth;
  return { kind: "basic", username, password: createSecret(password) };
}

/** The other way: in clear text, for sealing. */
export function toCredentialFields(credentials: PrometheusCredentials): CredentialFields {
  const { headers: list = [], clientCertificate } = credentials;
  const headers = Object.fromEntries(list.map(({ name, value }) => [name, value.expose()]));
  const rest = {
    ...(list.length > 0 ? { headers } : {}),
    ...(clientCertificate
      ? { client_certificate: { cert: clientCertificate.cert, key: clientCertificate.key.expose() } }
      : {}),
  };
  if (credentials.kind === "none") return rest;
  if (credentials.kind === "sigv4") return { sigv4: toSigv4Fields(credentials), ...rest };
  if (credentials.kind === "bearer") return { bearer_token: credentials.token.expose(), ...rest };
  const { username, password } = credentials;
  return { basic_auth: { username, password: password.expose() }, ...rest };
}

/** The headers of each request (RFC 6750, RFC 7617, and the cluster's own), and the secrets that an answer could quote. */
export function toAuthorization(credentials: PrometheusCredentials): {
  scheme: PrometheusCredentials["kind"];
  headers: readonly PrometheusHeader[];
  secrets: readonly Secret[];
} {
  const { kind: scheme, headers: own = [] } = credentials;
  const ownSecrets = own.flatMap(({ value }) => secretsOfHeader(value.expose()).map(createSecret));
  const { value, secrets } = authorizationOf(credentials);
  const header = value === undefined ? [] : [{ name: "authorization", value: createSecret(value) }];
  return { scheme, headers: [...header, ...own], secrets: [...secrets, ...ownSecrets] };
}

function authorizationOf(credentials: PrometheusCredentials): {
  value: string | undefined;
  secrets: readonly Secret[];
} {
  if (credentials.kind === "none") return { value: undefined, secrets: [] };
  if (credentials.kind === "sigv4") {
    const { secretAccessKey, sessionToken } = credentials.keys ?? {};
    return {
      value: undefined,
      secrets: [secretAccessKey, sessionToken].filter((each) => each !== undefined),
    };
  }
  if (credentials.kind === "bearer") {
    const { token } = credentials;
    return { value: `Bearer ${token.expose()}`, secrets: [token] };
  }
  const { username, password } = credentials;
  const packed = Buffer.from(`${username}:${password.expose()}`, "utf8").toString("base64");
  return { value: `Basic ${packed}`, secrets: [createSecret(packed), password] };
}
