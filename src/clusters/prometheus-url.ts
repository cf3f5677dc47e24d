import { z } from "zod";

const URL_CHARS_MAX = 2048;
/** RFC 3986 section 3.3: segments of pchar, none of them empty. */
const PATH = /^(\/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*\/?$/;
/** Of the API itself: a URL that was copied from a client often has it. */
const API_PATH = /\/api\/v1(\/.*)?$/;

/** Why a text can't be the URL of a Prometheus, as the end of a sentence about it; undefined when it can. Quotes nothing of it. */
function urlProblem(text: string): string | undefined {
  const url = /^[\x21-\x7e]+$/.test(text) && !text.includes("\\") ? URL.parse(text) : null;
  if (!url || (url.protocol !== "https:" && url.protocol !== "http:") || !/^https?:\/\/[^/]/i.test(text))
    return "must be a URL such as https://prometheus.example.com/prometheus";
  if (url.username !== "" || url.password !== "" || /^[^/]*\/\/[^/?#]*@/.test(text))
    return "must have no user name and password: give them in basic_auth";
  if (/[?#]/.test(text)) return "must have no query and no fragment: give what it needs in headers";
  if (url.port === "0") return "must have a port from 1 to 65535";
  if (API_PATH.test(url.pathname)) return "must end before /api/v1, which the program adds";
  return PATH.test(url.pathname) ? undefined : "must have a path such as /prometheus, or none";
}

export const urlField = z
  .string("must be a text")
  .max(URL_CHARS_MAX, `must have at most ${URL_CHARS_MAX} characters`)
  .superRefine((text, context) => {
    const message = urlProblem(text);
    if (message !== undefined) context.addIssue({ code: "custom", message });
  });

/** The one form of a checked URL: scheme and host in lower case, no default port, no slash at its end. */
export function toPrometheusUrl(text: string): { url: string; origin: string; pathPrefix: string } {
  const { origin, pathname } = new URL(text);
  const pathPrefix = pathname.replace(/\/+$/, "");
  return { url: `${origin}${pathPrefix}`, origin, pathPrefix };
}

/** Scheme, host and port: what credentials are bound to. */
export function originOf(url: string): string {
  return new URL(url).origin;
}
