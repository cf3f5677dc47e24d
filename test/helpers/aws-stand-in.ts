import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

/** Keys as AWS knows them: the secret of an access key id, and the session token that belongs to it. */
export interface KnownKeys {
  secret: string;
  token?: string;
}

/**
 * Checks the signature of a request by the words of AWS' documentation, with nothing of the program's own code. Undefined: it is right; else what AWS
 * answers.
 */
export function signatureProblem(
  request: Pick<IncomingMessage, "method" | "url" | "headers">,
  body: string,
  scope: { region: string; service: string; nowMs: number },
  keys: Readonly<Record<string, KnownKeys>>,
): string | undefined {
  const header =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? "",
    );
  if (!header) return "Missing Authentication Token";
  const [, id = "", date = "", region = "", service = "", names = "", signature = ""] = header;
  const known = keys[id];
  const token = request.headers["x-amz-security-token"];
  if (!known || known.token !== token) return "The security token included in the request is invalid.";
  if (region !== scope.region || service !== scope.service)
    return "Credential should be scoped to a valid region.";
  const time = String(request.headers["x-amz-date"]);
  const at = Date.parse(time.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
  if (!time.startsWith(date)) return "Date in Credential scope does not match";
  if (at < scope.nowMs - 300_000)
    return `Signature expired: ${time} is now earlier than the time of the server`;
  if (at > scope.nowMs + 300_000)
    return `Signature not yet current: ${time} is still later than the time of the server`;
  if (!["host", "x-amz-date"].every((name) => names.split(";").includes(name)))
    return "Headers must be signed";
  const [path = "", query = ""] = (request.url ?? "").split("?");
  const pairs = query.split("&").filter((pair) => pair !== "");
  const canonical = [
    request.method,
    path
      .split("/")
      .map((part) => strict(part))
      .join("/"),
    pairs
      .map((pair) =>
        pair
          .split("=")
          .map((part) => strict(decodeURIComponent(part)))
          .join("="),
      )
      .sort()
      .join("&"),
    ...names.split(";").map((name) => `${name}:${String(request.headers[name]).trim()}`),
    "",
    names,
    createHash("sha256").update(body).digest("hex"),
  ].join("\n");
  const sign = (key: string | Buffer, text: string): Buffer =>
    createHmac("sha256", key).update(text).digest();
  const key = sign(sign(sign(sign(`AWS4${known.secret}`, date), region), service), "aws4_request");
  const hash = createHash("sha256").update(canonical).digest("hex");
  const wanted = sign(key, `AWS4-HMAC-SHA256\n${time}\n${date}/${region}/${service}/aws4_request\n${hash}`);
  return wanted.toString("hex") === signature
    ? undefined
    : "The request signature we calculated does not match the signature you provided.";
}

function strict(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** STS and the EKS Pod Identity agent in one. */
export interface AwsStandIn {
  url: string;
  /** The actions that STS was asked for, and "agent". */
  calls: string[];
  /** Those that were issued. */
  keys: Record<string, KnownKeys>;
  stop(): Promise<void>;
}

/** `webToken`, `agentToken`: what it takes. `known`: keys that may assume a role. Issued keys hold for `lifeMs`. */
export async function startAwsStandIn(settings: {
  webToken: string;
  agentToken: string;
  known: Readonly<Record<string, KnownKeys>>;
  region: string;
  lifeMs: () => number;
}): Promise<AwsStandIn> {
  const calls: string[] = [];
  const keys: Record<string, KnownKeys> = {};
  const issue = () => {
    const id = `ASIA${String(Object.keys(keys).length + 1).padStart(16, "0")}`;
    const issued = { secret: `issued-secret-${id}`, token: `issued-token-${id}==` };
    keys[id] = issued;
    return { id, ...issued, expiration: new Date(Date.now() + settings.lifeMs()).toISOString() };
  };
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      if (request.url === "/v1/credentials") {
        calls.push("agent");
        if (request.headers.authorization !== settings.agentToken) {
          response.writeHead(403).end();
          return;
        }
        const { id, secret, token, expiration } = issue();
        const answer = { AccessKeyId: id, SecretAccessKey: secret, Token: token, Expiration: expiration };
        response.writeHead(200).end(JSON.stringify(answer));
        return;
      }
      const form = new URLSearchParams(body);
      const action = form.get("Action") ?? "";
      calls.push(action);
      const scope = { region: settings.region, service: "sts", nowMs: Date.now() };
      const isGood =
        action === "AssumeRole"
          ? signatureProblem(request, body, scope, { ...settings.known, ...keys }) === undefined
          : form.get("WebIdentityToken") === settings.webToken;
      if (!isGood) {
        const code = action === "AssumeRole" ? "SignatureDoesNotMatch" : "InvalidIdentityToken";
        response.writeHead(400).end(`<ErrorResponse><Error><Code>${code}</Code></Error></ErrorResponse>`);
        return;
      }
      const { id, secret, token, expiration } = issue();
      response
        .writeHead(200, { "content-type": "text/xml" })
        .end(
          `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result><Credentials>\n  <AccessKeyId>${id}</AccessKeyId>\n  <SecretAccessKey>${secret}</SecretAccessKey>\n  <SessionToken>${token}</SessionToken>\n  <Expiration>${expiration}</Expiration></Credentials></${action}Result></${action}Response>`,
        );
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    keys,
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
