import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Secret } from "#lib/secret.ts";
import type { Logger } from "#telemetry/logger.ts";
import { createFailedLogins, FAILED_LOGIN_LIMITS } from "./failed-logins.ts";
import { refuseForeignPages } from "./loopback.ts";
import { type ApiToken, GRANTED_SCOPES, type GrantedScope, type Scope } from "./tokens.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Who may call the route; a route without it is refused at registration. */
    scope?: Scope;
    /** Its access lines are written at debug: probes come every few seconds. */
    quiet?: boolean;
    /** The action that the audit log names, like "cluster.create". Each request to the route is logged, also a failed one. */
    audit?: string;
  }
  interface FastifyRequest {
    /** The name of the accepted token, for the access log. */
    caller: string | null;
    /** Dapr's sidecar sent the request. */
    viaDapr: boolean;
    /** The key of limits that callers share: the token, or without tokens the address. */
    share: string;
    /** What the caller may do: `admin` includes the others. Null until the caller is known. */
    scopes: readonly GrantedScope[] | null;
    /** The clusters that the caller may read; none until the caller is known. */
    clustersSeen: ClustersSeen;
    /** May the caller read this cluster? If not, the answer is the same as for a cluster that does not exist. */
    sees(clusterId: string): boolean;
    /** Would the request be let in as before, to the same clusters? For answers that go on: a token may be removed or changed meanwhile. */
    isStillAllowed(): boolean;
    /** The cluster of the request, for the audit log, when the path does not name it. */
    auditCluster: string | null;
  }
}

/** Clusters by their ids. */
type ClustersSeen = "all" | "none" | ReadonlySet<string>;

export interface AccessSettings {
  /** AUTH_ENABLED, default true. false: everybody may do everything, from anywhere. */
  enabled?: boolean;
  tokens: readonly ApiToken[];
  /** APP_API_TOKEN: what Dapr's sidecar sends as `dapr-api-token`; gives the scope collect. */
  daprToken?: Secret;
}

/**
 * tokens: callers are known by their tokens; loopback: no token is configured, so every scope is allowed, to this machine only;
 * off: everybody may do everything (AUTH_ENABLED=false).
 */
export type AccessMode = "tokens" | "loopback" | "off";

interface AccessRequest {
  method: string;
  headers: IncomingHttpHeaders;
  /** Of the client, as the socket says. */
  address: string;
  scope: Scope;
}

/** The caller, and the refusal if there is one. */
export interface AccessDecision {
  /** For the access log; null: unknown. */
  caller: string | null;
  scopes: readonly GrantedScope[];
  clustersSeen: ClustersSeen;
  /** Dapr's sidecar sent the request: it has APP_API_TOKEN, or, where no token is needed, the headers that only a sidecar sends. */
  viaDapr: boolean;
  /**
   * unauthenticated (no or unknown token), too_many_failed_logins, forbidden (lacks the scope); without tokens host_refused or
   * cross_origin_refused.
   */
  refusal?: BridgeError;
}

const NOBODY = { caller: null, scopes: [], clustersSeen: "none", viaDapr: false } as const;

export interface Access {
  readonly mode: AccessMode;
  decide(request: AccessRequest): AccessDecision;
  /** Would the request be let in as `before`, to the same clusters? Counts nothing as a failed login. */
  isStillAllowed(request: AccessRequest, before: AccessDecision): boolean;
  /** Replaces the tokens, from the next request on. Ignores an empty list: a reload never opens the server to everybody. */
  replaceTokens(tokens: readonly ApiToken[]): void;
}

const BEARER = /^Bearer +(\S{1,4096}) *$/i;

interface Caller {
  name: string;
  scopes: readonly GrantedScope[];
  clustersSeen: ClustersSeen;
  viaDapr: boolean;
}

/**
 * Headers that daprd sends to an application: its token, the calling application (service invocation), and the metadata of its cron binding
 * (components-contrib, bindings/cron).
 */
const DAPR_HEADERS = ["dapr-api-token", "dapr-caller-app-id", "readtimeutc"];

/**
 * Authenticates and authorizes each request. Tokens are compared by their SHA-256 in constant time. A known token is accepted however many
 * unknown ones its address sent before, so that no caller can lock out another. The length of tokens prevents guessing; the limit on failed
 * logins bounds the cost of an attacker's requests.
 */
export function createAccess(
  deps: { clock: Clock; logger: Pick<Logger, "warn"> },
  settings: AccessSettings,
): Access {
  let known = settings.tokens.map(toKnownToken);
  const daprDigest = settings.daprToken && hash(settings.daprToken.expose());
  const mode = toMode(settings);
  const failedLogins = createFailedLogins(deps.clock, FAILED_LOGIN_LIMITS);

  const callersOf = (headers: IncomingHttpHeaders): Caller[] => {
    const callers: Caller[] = [];
    const bearer = BEARER.exec(headers.authorization ?? "")?.[1];
    if (bearer !== undefined) {
      const digest = hash(bearer);
      for (const { caller, digest: expected } of known) {
        if (timingSafeEqual(digest, expected)) callers.push(caller);
      }
    }
    const dapr = headers["dapr-api-token"];
    if (daprDigest && typeof dapr === "string" && timingSafeEqual(hash(dapr), daprDigest)) {
      callers.push({ name: "dapr", scopes: ["collect"], clustersSeen: "all", viaDapr: true });
    }
    return callers;
  };

  const refuseUnknown = ({ headers, scope, address }: AccessRequest): BridgeError => {
    const details = { required_scope: scope };
    if (headers.authorization === undefined && headers["dapr-api-token"] === undefined) {
      return new BridgeError("unauthenticated", "a token is needed", { details });
    }
    const failure = failedLogins.count(address);
    if (!failure.limited) return new BridgeError("unauthenticated", "the token is not known", { details });
    const retryAfter = Math.ceil(failure.retryAfterMs / 1000);
    if (failure.first) {
      deps.logger.warn({ address, limit: failure.who }, "too many failed logins");
    }
    return new BridgeError("too_many_failed_logins", "too many requests had a token that is not known", {
      details: { ...details, retry_after_seconds: retryAfter },
    });
  };

  const allowedOf = (callers: readonly Caller[], scope: Scope): Caller | undefined =>
    callers.find((caller) => allows(caller, scope));

  const decideByToken = (request: AccessRequest): AccessDecision => {
    const { scope, headers } = request;
    const callers = callersOf(headers);
    const allowed = allowedOf(callers, scope);
    const viaDapr = callers.some((caller) => caller.viaDapr);
    if (allowed) {
      const { name, scopes, clustersSeen } = allowed;
      return { caller: name, scopes: allScopes(scopes), clustersSeen, viaDapr };
    }
    const [first] = callers;
    if (!first) return { ...NOBODY, refusal: refuseUnknown(request) };
    const refusal = new BridgeError("forbidden", `"${first.name}" lacks the scope ${scope}`, {
      details: { required_scope: scope, scopes: first.scopes },
    });
    return { ...NOBODY, caller: first.name, refusal };
  };

  return {
    mode,
    decide: (request) => {
      if (mode === "tokens") {
        if (request.scope === "open") return { ...NOBODY, caller: "anyone" };
        return decideByToken(request);
      }
      const { method, headers } = request;
      const origin = {
        method,
        host: headers.host,
        origin: headers.origin,
        secFetchSite: single(headers["sec-fetch-site"]),
      };
      const refusal = refuseForeignPages(origin, mode === "loopback" ? "this machine" : "any");
      if (refusal) return { ...NOBODY, refusal };
      return {
        caller: mode === "loopback" ? "local" : "anonymous",
        scopes: GRANTED_SCOPES,
        clustersSeen: "all",
        viaDapr: DAPR_HEADERS.some((name) => headers[name] !== undefined),
      };
    },
    isStillAllowed: ({ headers, scope }, before) => {
      if (mode !== "tokens") return true;
      const now = allowedOf(callersOf(headers), scope);
      return now?.name === before.caller && isSameClusters(now.clustersSeen, before.clustersSeen);
    },
    replaceTokens: (tokens) => {
      if (tokens.length > 0) known = tokens.map(toKnownToken);
    },
  };
}

function allows({ scopes }: Caller, scope: Scope): boolean {
  return scope === "any" || scopes.some((has) => has === scope || has === "admin");
}

/** `admin` includes the others. */
function allScopes(scopes: readonly GrantedScope[]): readonly GrantedScope[] {
  return scopes.includes("admin") ? GRANTED_SCOPES : scopes;
}

function toMode({ enabled = true, tokens, daprToken }: AccessSettings): AccessMode {
  if (!enabled) return "off";
  return tokens.length === 0 && daprToken === undefined ? "loopback" : "tokens";
}

function toKnownToken({ name, sha256, scopes, clusters }: ApiToken): { caller: Caller; digest: Buffer } {
  return {
    caller: {
      name,
      scopes,
      clustersSeen: clusters === undefined ? "all" : new Set(clusters),
      viaDapr: false,
    },
    digest: Buffer.from(sha256, "hex"),
  };
}

function isSameClusters(a: ClustersSeen, b: ClustersSeen): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.size === b.size && a.isSubsetOf(b);
}

function hash(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(",") : header;
}
