import type { ErrorCode } from "#errors/error.ts";

/** What Go, nginx and Apache say to plain HTTP on a port of TLS. */
const TLS_WANTED =
  /HTTP request to an HTTPS server|plain HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled/i;
/** Parts of the addresses of login pages: oauth2-proxy, Dex, Keycloak, Grafana, Okta, Entra, Google, Authelia, Authentik, Cloudflare. */
const LOGIN_ADDRESS =
  /(^|[^a-z])(log-?in|log-?on|sign-?in|sign_in|auth(n|z|elia|entik|orize|enticate)?|_?oauth2?|o2|sso|saml2?|openid(-connect)?|oidc|dex|cas|idp|cloudflareaccess|accounts?)([^a-z]|$)/i;
/** Parameters of theirs: OAuth 2, SAML, and the page to come back to. */
const LOGIN_PARAMETER = /^(client_id|redirect_uri|SAMLRequest|rd)$/;
/** A form with a password, or a title or button that asks to log in. */
const LOGIN_PAGE =
  /type\s*=\s*["']?password|<title>[^<]{0,100}(log ?in|log ?on|sign ?in|authenticat)|(sign|log) ?in with |action\s*=\s*["'][^"']{0,200}(login|sign_?in|oauth2?|saml|openid)/i;
/** TLS record type alert, and the first byte of its version. */
const TLS_ALERT = "\u0015\u0003";

interface StrangeAnswer {
  status: number;
  location: unknown;
  /** The path that was asked for. */
  asked: string;
  text: string;
  isPage: boolean;
}

/** Recognises an answer of something in front of Prometheus: a port of TLS, or a login page. `remark` goes on after the error's message. */
export function strangerOf(answer: StrangeAnswer): { code: ErrorCode; remark: string } | undefined {
  const { status, text, isPage } = answer;
  if (status === 400 && TLS_WANTED.test(text))
    return { code: "prometheus_tls_required", remark: ": the port speaks TLS" };
  if (status >= 300 && status < 400) return strangerOfRedirect(answer);
  if (status === 200 && isPage && LOGIN_PAGE.test(text))
    return { code: "prometheus_login_required", remark: ", which is a login page" };
  return undefined;
}

function strangerOfRedirect({ location, asked }: StrangeAnswer): ReturnType<typeof strangerOf> {
  if (typeof location !== "string") return ELSEWHERE;
  const target = URL.parse(location, "http://prometheus.invalid");
  if (!target) return ELSEWHERE;
  if (target.protocol === "https:" && target.pathname === asked)
    return { code: "prometheus_tls_required", remark: ": it redirects to https" };
  const words = [target.hostname, target.pathname, ...target.searchParams.keys()];
  const isLogin = words.some((word) => LOGIN_ADDRESS.test(word) || LOGIN_PARAMETER.test(word));
  return isLogin
    ? { code: "prometheus_login_required", remark: ": it redirects to a login page" }
    : ELSEWHERE;
}

const ELSEWHERE = {
  code: "prometheus_unexpected_answer",
  remark: ": it redirects elsewhere, and redirects are not followed",
} as const;

/** Did a server send a TLS alert where HTTP was expected? `error`: undici's, whose `data` are the bytes that are no HTTP. */
export function isTlsAlert(error: Error): boolean {
  return "data" in error && typeof error.data === "string" && error.data.startsWith(TLS_ALERT);
}
