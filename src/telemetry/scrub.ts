import { createRecord } from "#lib/records.ts";
import { withoutControls } from "#lib/remote-text.ts";

/** Replaces a secret in a log or an answer. */
const HIDDEN = "[redacted]";

/** Longer texts are cut before they are searched: a log line is no place for a document, and the search stays cheap. */
const TEXT_CHARS_MAX = 8192;
const DEPTH_MAX = 8;
const ENTRIES_MAX = 200;

/** Field names, lower case without `-`, `_` and `.`, whose value is never shown. `token_count` or `tokens` are not among them. */
const SECRET_FIELD =
  /(?:token|password|passwd|passphrase|secret|authorization|cookie|kubeconfig|credentials?|keydata|certificatedata|authoritydata|privatekey|clientkey|apikey|accesskey|encryptionkey)$/;

const VALUE = String.raw`(?:"(?:[^"\\\r\n]|\\.)*"?|'[^'\r\n]*'?|[|>][-+]?[ \t]*\r?\n[ \t]+\S+`;

const RULES: readonly { pattern: RegExp; replacement: string }[] = [
  // PEM blocks; a cut one (no END line) is hidden to the end of the text.
  {
    pattern: /-----BEGIN [A-Z0-9 ]{1,40}-----[\s\S]*?(?:-----END [A-Z0-9 ]{1,40}-----|$)/g,
    replacement: HIDDEN,
  },
  // The base64 of "-----BEGIN": the *-data fields of a kubeconfig.
  { pattern: /LS0tLS1CRUdJTi[A-Za-z0-9+/=_-]*/g, replacement: HIDDEN },
  // JWT (three parts) and JWE (five): base64url of `{"`, then dots.
  { pattern: /\beyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){1,4}/g, replacement: HIDDEN },
  // A token has no form of its own, so the words that people write after "bearer" are listed ...
  {
    pattern:
      /\b(bearer)\s+(?!(?:tokens?|auth|authentication|authorization|schemes?|credentials?|headers?|realm|method)[.,:;!?]*(?:[\s"')\]]|$))[A-Za-z0-9._~+/=-]{4,}/gi,
    replacement: `$1 ${HIDDEN}`,
  },
  // ... and base64 of a name and a password does not look like a word: all small letters but perhaps the first, or all capitals.
  {
    pattern:
      /\b([Bb]asic|BASIC)\s+(?!(?:[A-Z]?[a-z]{1,19}|[A-Z]{1,20})(?![A-Za-z0-9+/=]))[A-Za-z0-9+/=]{8,}/g,
    replacement: `$1 ${HIDDEN}`,
  },
  // AWS EKS tokens and Kubernetes bootstrap tokens have a shape of their own.
  { pattern: /\bk8s-aws-v1\.[A-Za-z0-9_-]+/g, replacement: HIDDEN },
  { pattern: /\b[a-z0-9]{6}\.[a-z0-9]{16}\b/g, replacement: HIDDEN },
  // User info of URLs.
  { pattern: /\b([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/?#@"']*@/gi, replacement: `$1${HIDDEN}@` },
  // `token: x`, `client-key-data: x`, `"password": "x"`, `Authorization: x`: to the end of the value, which is the line when it has no quotes.
  {
    pattern: new RegExp(
      String.raw`((?:token|password|passwd|passphrase|secret|authorization|cookie|api[-_]?key|access[-_]?key|private[-_]?key|client-key-data|client-certificate-data|certificate-authority-data)\\{0,7}["']?[ \t]{0,8}:[ \t]{0,8})(?!\[redacted\]|Bearer <)${VALUE}|[^\s"'|>{[][^\r\n,}]*)`,
      "gi",
    ),
    replacement: `$1${HIDDEN}`,
  },
  // `token=x` of a query string or a command line.
  {
    pattern:
      /((?:token|password|passwd|passphrase|secret|api[-_]?key|access[-_]?key)=)(?!\[redacted\])(?:"[^"\r\n]*"?|'[^'\r\n]*'?|[^\s&;,"'}]+)/gi,
    replacement: `$1${HIDDEN}`,
  },
];

/**
 * The text without what looks like a secret: PEM blocks, JWTs, bearer and basic credentials, kubeconfig fields, passwords in URLs,
 * `password=`-like pairs. When in doubt, it hides a harmless word. Texts over 8192 characters are cut. Characters that a terminal obeys or
 * that turn the direction of a text around become spaces.
 */
export function scrubText(text: string): string {
  let scrubbed =
    text.length > TEXT_CHARS_MAX ? `${text.slice(0, TEXT_CHARS_MAX)}... (${text.length} characters)` : text;
  for (const { pattern, replacement } of RULES) scrubbed = scrubbed.replace(pattern, replacement);
  return withoutControls(scrubbed);
}

/** Does a field of this name hold a secret, whatever its value looks like? */
function isSecretField(name: string): boolean {
  return SECRET_FIELD.test(name.toLowerCase().replaceAll(/[-_.]/g, ""));
}

/**
 * A copy of a JSON value with every text scrubbed and the values of secret fields hidden (booleans and null stay: `has_token: true` is
 * no secret). Deeper than 8 levels or longer than 200 entries is cut.
 */
export function scrubValue(value: unknown, scrub: (text: string) => string = scrubText, depth = 0): unknown {
  if (typeof value === "string") return scrub(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH_MAX) return "[too deep]";
  if (Array.isArray(value))
    return value.slice(0, ENTRIES_MAX).map((item) => scrubValue(item, scrub, depth + 1));
  const copy = createRecord<unknown>();
  for (const [name, item] of Object.entries(value).slice(0, ENTRIES_MAX)) {
    const hidden = isSecretField(name) && item !== null && typeof item !== "boolean";
    copy[scrub(name)] = hidden ? HIDDEN : scrubValue(item, scrub, depth + 1);
  }
  return copy;
}
