import { z } from "zod";
import { createSecret } from "#lib/secret.ts";
import { mappingField } from "./cluster-fields.ts";
import type { AwsAuthentication } from "./cluster.ts";

/** Amazon Managed Service for Prometheus. */
const SERVICE = "aps";
const SESSION_TOKEN_MAX = 8 * 1024;

const word = (pattern: RegExp, wanted: string) =>
  z.string("must be a text").regex(pattern, `must be ${wanted}`);
const secretWord = (max: number) =>
  z
    .string("must be a text")
    .max(max, `must have at most ${max} characters`)
    .regex(/^[\x21-\x7e]+$/, "must be printable ASCII without spaces, and not empty");

/** AWS Signature Version 4, as files and requests name it. */
export const sigv4Field = mappingField(
  {
    region: word(/^[a-z0-9]+(-[a-z0-9]+){1,5}$/, "a region such as eu-central-1").max(
      40,
      "must be a region such as eu-central-1",
    ),
    service: word(/^[a-z0-9-]{1,40}$/, "a service such as aps").optional(),
    access_key_id: word(/^[A-Z0-9]{16,128}$/, "an access key id such as AKIA...").optional(),
    secret_access_key: secretWord(256).optional(),
    session_token: secretWord(SESSION_TOKEN_MAX).optional(),
    role: word(/^arn:aws[a-z-]{0,20}:iam::\d{12}:role\/[\w+=,.@/-]{1,600}$/, "the ARN of a role").optional(),
  },
  "region",
).superRefine(({ access_key_id: id, secret_access_key: secret, session_token: token }, context) => {
  if ((id === undefined) !== (secret === undefined))
    context.addIssue({ code: "custom", message: "needs access_key_id and secret_access_key, or neither" });
  else if (id === undefined && token !== undefined)
    context.addIssue({ code: "custom", message: "has a session_token without access_key_id" });
});

export type Sigv4Fields = z.infer<typeof sigv4Field>;

/** Are there no keys, so that it is the identity of this program? Only for what the operator vouches for. */
export function usesOwnIdentity(fields: { access_key_id?: unknown }): boolean {
  return fields.access_key_id === undefined;
}

export function toAwsAuthentication(fields: Sigv4Fields): AwsAuthentication {
  const { region, service = SERVICE, access_key_id: id, secret_access_key: secret, role } = fields;
  const token = fields.session_token;
  const keys =
    id === undefined || secret === undefined
      ? undefined
      : {
          accessKeyId: id,
          secretAccessKey: createSecret(secret),
          ...(token === undefined ? {} : { sessionToken: createSecret(token) }),
        };
  return { region, service, ...(keys ? { keys } : {}), ...(role === undefined ? {} : { role }) };
}

/** The other way: in clear text, for sealing. */
export function toSigv4Fields({ region, service, keys, role }: AwsAuthentication): Sigv4Fields {
  return {
    region,
    service,
    ...(keys
      ? {
          access_key_id: keys.accessKeyId,
          secret_access_key: keys.secretAccessKey.expose(),
          ...(keys.sessionToken ? { session_token: keys.sessionToken.expose() } : {}),
        }
      : {}),
    ...(role === undefined ? {} : { role }),
  };
}
