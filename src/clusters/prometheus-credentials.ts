import { z } from "zod";
import { createSecret, type Secret } from "#lib/secret.ts";
import type { PrometheusCredentials } from "./cluster.ts";

const TOKEN_MAX = 16 * 1024;
const WORD_MAX = 1024;

/** RFC 7617 section 2: no control characters, and no colon in the user name. */
const textMatching = (name: RegExp, allowed: string) =>
  z
    .string("must be a text")
    .min(1, "must not be empty")
    .max(WORD_MAX, `must have at most ${WORD_MAX} characters`)
    .regex(name, allowed);

/** Credentials for a Prometheus that requires authentication, as files and requests name them; at most one of the two. */
export const prometheusCredentialFields = {
  bearer_token: z
    .string("must be a text")
    .min(1, "must not be empty")
    .max(TOKEN_MAX, `must have at most ${TOKEN_MAX} characters`)
    .regex(/^[\x21-\x7e]*$/, "must be printable ASCII without spaces")
    .optional(),
  basic_auth: z
    .strictObject(
      {
        username: textMatching(/^[^\p{Cc}:]*$/u, "must not have a colon or control characters"),
        password: textMatching(/^\P{Cc}*$/u, "must not have control characters"),
      },
      "must be a mapping with username and password",
    )
    .optional(),
};

interface CredentialFields {
  bearer_token?: string | undefined;
  basic_auth?: { username: string; password: string } | undefined;
}

export const ONE_OF_BOTH = "has bearer_token and basic_auth: give one of them";

/** Are there not both? */
export function hasOneAtMost({ bearer_token, basic_auth }: CredentialFields): boolean {
  return bearer_token === undefined || basic_auth === undefined;
}

/** The checked fields as credentials; undefined when there are none. */
export function toPrometheusCredentials(fields: CredentialFields): PrometheusCredentials | undefined {
  const { bearer_token, basic_auth } = fields;
  if (bearer_token !== undefined) return { kind: "bearer", token: createSecret(bearer_token) };
  if (!basic_auth) return undefined;
  const { username, password } = basic_auth;
  return { kind: "basic", username, password: createSecret(password) };
}

/** The other way: in clear text, for sealing. */
export function toCredentialFields(credentials: PrometheusCredentials): CredentialFields {
  if (credentials.kind === "bearer") return { bearer_token: credentials.token.expose() };
  return { basic_auth: { username: credentials.username, password: credentials.password.expose() } };
}

/** The `authorization` header (RFC 6750, RFC 7617), and the secrets that an answer could quote. */
export function toAuthorization(credentials: PrometheusCredentials): {
  scheme: "bearer" | "basic";
  header: Secret;
  secrets: readonly Secret[];
} {
  if (credentials.kind === "bearer") {
    const { token } = credentials;
    return { scheme: "bearer", header: createSecret(`Bearer ${token.expose()}`), secrets: [token] };
  }
  const { username, password } = credentials;
  const packed = Buffer.from(`${username}:${password.expose()}`, "utf8").toString("base64");
  return {
    scheme: "basic",
    header: createSecret(`Basic ${packed}`),
    secrets: [createSecret(packed), password],
  };
}
