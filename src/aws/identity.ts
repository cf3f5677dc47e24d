import { readFile } from "node:fs/promises";
import { request, type Dispatcher } from "undici";
import { BridgeError } from "#errors/error.ts";
import { deadline, type Clock } from "#lib/clock.ts";
import { readBeginning } from "#lib/read-body.ts";
import { createSecret } from "#lib/secret.ts";
import { signRequest, type AwsKeys } from "./sign.ts";

/** The variables that EKS sets for a Pod with an identity, and the one that moves STS. */
export const AWS_VARIABLES = [
  "AWS_WEB_IDENTITY_TOKEN_FILE",
  "AWS_ROLE_ARN",
  "AWS_ROLE_SESSION_NAME",
  "AWS_CONTAINER_CREDENTIALS_FULL_URI",
  "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
  "AWS_ENDPOINT_URL_STS",
] as const;
export type AwsEnvironment = { [Name in (typeof AWS_VARIABLES)[number]]?: string };

/** Keys with the time when they end, ms. */
export interface TemporaryKeys {
  keys: AwsKeys;
  expiresAtMs: number;
}

export interface AwsIdentityDeps {
  clock: Clock;
  dispatcher: Dispatcher;
  environment: AwsEnvironment;
}

const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 64 << 10;
const TOKEN_BYTES_MAX = 16 << 10;
const SESSION_SECONDS = 3600;
const SESSION_NAME = "budcluster";
/**
 * Hosts that may be asked for keys over plain HTTP, as in AWS' SDKs: the agent of EKS Pod Identity (IPv4, IPv6) and this machine. The link-local
 * ones are allowed here only.
 */
const AGENT_HOSTS: ReadonlySet<string> = new Set(["169.254.170.23", "[fd00:ec2::23]", "127.0.0.1", "[::1]"]);

/**
 * The identity that this program has on EKS: Pod Identity (AWS_CONTAINER_CREDENTIALS_FULL_URI), else a role for the ServiceAccount
 * (AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN). Throws BridgeError aws_credentials_unavailable.
 */
export async function ownKeys(
  deps: AwsIdentityDeps,
  region: string,
  signal: AbortSignal,
): Promise<TemporaryKeys> {
  const { environment } = deps;
  const { AWS_CONTAINER_CREDENTIALS_FULL_URI: agent, AWS_ROLE_ARN: role } = environment;
  if (agent !== undefined) return await podIdentity(deps, agent, signal);
  const tokenFile = environment.AWS_WEB_IDENTITY_TOKEN_FILE;
  if (tokenFile === undefined || role === undefined)
    throw unavailable(
      "this program has no AWS identity: neither AWS_CONTAINER_CREDENTIALS_FULL_URI nor AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN is set",
    );
  const form = {
    Action: "AssumeRoleWithWebIdentity",
    RoleArn: role,
    WebIdentityToken: await readToken(tokenFile, "AWS_WEB_IDENTITY_TOKEN_FILE"),
  };
  return await askSts(deps, region, form, undefined, signal);
}

/** The keys of another role, for those who may assume it. Throws BridgeError aws_credentials_unavailable. */
export async function keysOfRole(
  deps: AwsIdentityDeps,
  region: string,
  role: string,
  keys: AwsKeys,
  signal: AbortSignal,
): Promise<TemporaryKeys> {
  return await askSts(deps, region, { Action: "AssumeRole", RoleArn: role }, keys, signal);
}

async function podIdentity(deps: AwsIdentityDeps, uri: string, signal: AbortSignal): Promise<TemporaryKeys> {
  const url = URL.parse(uri);
  const isAllowed =
    url?.protocol === "https:" || (url?.protocol === "http:" && AGENT_HOSTS.has(url.hostname));
  if (!isAllowed)
    throw unavailable("AWS_CONTAINER_CREDENTIALS_FULL_URI is not the address of the EKS Pod Identity agent");
  const tokenFile = deps.environment.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE;
  const token =
    tokenFile === undefined
      ? undefined
      : await readToken(tokenFile, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  const text = await ask(
    deps,
    "the EKS Pod Identity agent",
    uri,
    {
      method: "GET",
      headers: token === undefined ? {} : { authorization: token },
    },
    signal,
  );
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = {};
  }
  const fields = (answer ?? {}) as Record<string, unknown>;
  return toKeys((name) => {
    const value = fields[name === "SessionToken" ? "Token" : name];
    return typeof value === "string" ? value : "";
  }, "the EKS Pod Identity agent");
}

async function askSts(
  deps: AwsIdentityDeps,
  region: string,
  form: Record<string, string>,
  keys: AwsKeys | undefined,
  signal: AbortSignal,
): Promise<TemporaryKeys> {
  const suffix = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  const given = deps.environment.AWS_ENDPOINT_URL_STS;
  const url = new URL("/", given ?? `https://sts.${region}.${suffix}`).href;
  const name = deps.environment.AWS_ROLE_SESSION_NAME ?? SESSION_NAME;
  const body = new URLSearchParams({
    Version: "2011-06-15",
    RoleSessionName: name,
    DurationSeconds: String(SESSION_SECONDS),
    ...form,
  }).toString();
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const atMs = deps.clock.now();
  const signed = keys
    ? signRequest({ method: "POST", url, headers, body }, { region, service: "sts", keys, atMs })
    : {};
  const text = await ask(
    deps,
    "STS",
    url,
    { method: "POST", headers: { ...headers, ...signed }, body },
    signal,
  );
  // XML, always in this form (docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
  return toKeys((element) => new RegExp(`<${element}>([^<]+)</${element}>`).exec(text)?.[1] ?? "", "STS");
}

async function ask(
  { clock, dispatcher }: AwsIdentityDeps,
  who: string,
  url: string,
  options: { method: "GET" | "POST"; headers: Record<string, string>; body?: string },
  signal: AbortSignal,
): Promise<string> {
  const limit = deadline(
    clock,
    TIMEOUT_MS,
    () => unavailable(`${who} did not answer in ${TIMEOUT_MS / 1000} s`),
    signal,
  );
  try {
    const answer = await request(url, { ...options, dispatcher, signal: limit.signal });
    const text = (await readBeginning(answer.body, ANSWER_BYTES_MAX)).toString("utf8");
    if (answer.statusCode === 200) return text;
    // A code such as ExpiredTokenException: the words of its message could quote the token.
    const code = /<Code>([A-Za-z]{1,64})<\/Code>/.exec(text)?.[1];
    throw unavailable(`${who} answered ${answer.statusCode}${code === undefined ? "" : ` ${code}`}`);
  } catch (error) {
    if (limit.signal.aborted) throw limit.signal.reason;
    if (error instanceof BridgeError) throw error;
    const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    throw new BridgeError("aws_credentials_unavailable", `${who} is not reachable${code}`, { cause: error });
  } finally {
    limit.dispose();
  }
}

function toKeys(field: (name: string) => string, who: string): TemporaryKeys {
  const [accessKeyId = "", secret = "", token = "", expiration = ""] = [
    "AccessKeyId",
    "SecretAccessKey",
    "SessionToken",
    "Expiration",
  ].map(field);
  const expiresAtMs = Date.parse(expiration);
  if (accessKeyId === "" || secret === "" || token === "" || Number.isNaN(expiresAtMs))
    throw unavailable(`the answer of ${who} has no keys`);
  const keys = { accessKeyId, secretAccessKey: createSecret(secret), sessionToken: createSecret(token) };
  return { keys, expiresAtMs };
}

/** Read for each use: Kubernetes renews these tokens in their files. */
async function readToken(path: string, variable: string): Promise<string> {
  try {
    const token = (await readFile(path, "utf8")).trim();
    if (/^[\x21-\x7e]+$/.test(token) && token.length <= TOKEN_BYTES_MAX) return token;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    throw unavailable(`the file in ${variable} can't be read${code}`);
  }
  throw unavailable(`the file in ${variable} has no token`);
}

function unavailable(text: string): BridgeError {
  return new BridgeError("aws_credentials_unavailable", text);
}
