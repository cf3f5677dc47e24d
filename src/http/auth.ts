import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { BridgeError } from "#errors.ts";
import type { Secret } from "#lib/secret.ts";
import { refuseForeignPages } from "./loopback.ts";
import type { ApiToken, GrantedScope, Scope } from "./tokens.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Who may call the route; a route without it is refused at registration. */
    scope?: Scope;
    /** Its access lines are written at debug: probes come every few seconds. */
    quiet?: boolean;
  }
  interface FastifyRequest {
    /** The name of the token that the request was let in by, for the access log. */
    caller: string | null;
  }
}

export interface AccessSettings {
  tokens: readonly ApiToken[];
  /** APP_API_TOKEN: what Dapr's sidecar sends as `dapr-api-token`; gives the scope collect. */
  daprToken?: Secret;
}

export interface Access {
  /** True when no token is configured at all: every scope is allowed, to this machine only. */
  readonly open: boolean;
  /**
   * Who calls, for the access log. Throws unauthenticated (no or unknown token), forbidden (lacks the scope), and on an open server
   * host_refused or cross_origin_refused.
   */
  check(request: { method: string; headers: IncomingHttpHeaders; scope: Scope }): string;
}

const BEARER = /^Bearer +(\S{1,4096}) *$/i;

interface Caller {
  name: string;
  scopes: readonly GrantedScope[];
}

/** Decides about each request. Tokens are compared by their SHA-256, in a time that does not depend on their bytes or position. */
export function createAccess(settings: AccessSettings): Access {
  const known = settings.tokens.map(({ name, sha256, scopes }) => ({
    caller: { name, scopes },
    digest: Buffer.from(sha256, "hex"),
  }));
  const daprDigest = settings.daprToken && hash(settings.daprToken.expose());
  const open = known.length === 0 && daprDigest === undefined;

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
      callers.push({ name: "dapr", scopes: ["collect"] });
    }
    return callers;
  };

  return {
    open,
    check: ({ method, headers, scope }) => {
      if (open) {
        refuseForeignPages({
          method,
          host: headers.host,
          origin: headers.origin,
          secFetchSite: single(headers["sec-fetch-site"]),
        });
        return "local";
      }
      if (scope === "open") return "anyone";
      const callers = callersOf(headers);
      const allowed = callers.find((caller) => caller.scopes.some((has) => has === scope || has === "admin"));
      if (allowed) return allowed.name;
      const [first] = callers;
      if (first) {
        throw new BridgeError("forbidden", `"${first.name}" lacks the scope ${scope}`, {
          details: { required_scope: scope, scopes: first.scopes },
        });
      }
      const tried = headers.authorization !== undefined || headers["dapr-api-token"] !== undefined;
      throw new BridgeError("unauthenticated", tried ? "the token is not known" : "a token is needed", {
        details: { required_scope: scope },
      });
    },
  };
}

function hash(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(",") : header;
}
