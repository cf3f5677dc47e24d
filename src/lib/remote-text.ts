const TEXT_CHARS_MAX = 500;
const ADDRESS = "(address)";
const USER = "(user)";

/**
 * Characters that a terminal or a page acts on instead of showing them: C0 and C1 controls (ESC among them) but tab and line breaks, and the marks that
 * turn the direction of a text around (Unicode Standard Annex 9).
 */
const CONTROLS = /(?:(?![\t\n\r])[\p{Cc}\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069])+/gu;

/** The text without characters that could change how the rest of a log, a terminal or a page looks; a space stands for each run of them. */
export function withoutControls(text: string): string {
  return text.replaceAll(CONTROLS, " ");
}

const NAME = String.raw`[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9_-]+)*\.?`;
/** API groups and label prefixes look like hosts. */
const NO_GROUP = String.raw`(?!(?:[a-z0-9_-]+\.){0,6}(?:k8s|kubernetes|x-k8s|openshift|opentelemetry)\.io\b)`;
/** Words before a colon and a number that are no hosts. */
const NO_HOST =
  "(?!(?:char|character|code|col|column|count|errno|error|http|id|length|level|limit|line|offset|pid|port|position|rc|size|status|version):)";
const INTERNAL_ENDS =
  "svc|local|localdomain|internal|intranet|lan|corp|home|private|consul|arpa|com|net|org|cloud|io|dev";

const ADDRESSES: readonly { pattern: RegExp; replacement: string }[] = [
  // URLs, whole: their user, host, path and query.
  { pattern: /\b[a-z][a-z0-9+.-]{1,20}:\/\/[^\s"'<>()]*[^\s"'<>().,;:]/gi, replacement: ADDRESS },
  // user:password@host
  {
    pattern: /[^\s"'<>()=,;@/:]{1,200}:[^\s"'@]{1,200}@[a-z0-9[(][^\s"'<>(),;]{0,200}/gi,
    replacement: ADDRESS,
  },
  { pattern: /\b\d{1,3}(?:\.\d{1,3}){3}\b/g, replacement: ADDRESS },
  { pattern: /\[[0-9a-f]{0,4}:[^\]\s]{0,60}\]/gi, replacement: ADDRESS },
  {
    pattern:
      /(?<![\w:.])(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|(?=[0-9a-f:]{3,39}(?![\w:.]))(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?::(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?)(?:%[\w.-]{1,20})?(?![\w:])/gi,
    replacement: ADDRESS,
  },
  // Messages of resolvers and dialers: `lookup NAME on SERVER`, `getaddrinfo ENOTFOUND NAME`.
  { pattern: /\b(lookup|ENOTFOUND|EAI_AGAIN|resolve host:?) [^\s:,;()"']+/gi, replacement: `$1 ${ADDRESS}` },
  {
    pattern: /\b(valid for) [^"';]{1,400}?, not [^\s"',;]+/gi,
    replacement: `$1 other names than ${ADDRESS}`,
  },
  {
    pattern: new RegExp(
      String.raw`(?<![\w.:-])${NO_HOST}(?=[a-z0-9._-]*[a-z])${NAME}(?=:\d{1,5}\b(?![.:]\d))`,
      "gi",
    ),
    replacement: ADDRESS,
  },
  {
    pattern: new RegExp(
      String.raw`(?<![\w.@-])${NO_GROUP}(?:[a-z0-9_-]{1,63}\.){1,10}(?:${INTERNAL_ENDS})\b(?![\w/-])(?!\.\w)`,
      "gi",
    ),
    replacement: ADDRESS,
  },
  { pattern: /\bip(?:-\d{1,3}){4}\b/g, replacement: ADDRESS },
  // host=x of a connection string, `host: x`
  {
    pattern:
      /(?<!such )\b(host|hostaddr|hostname|server|addr|address)(["']?\s{0,3}[=:]\s{0,3}["']?)(?!\()[^\s"',;&)]+/gi,
    replacement: `$1$2${ADDRESS}`,
  },
];

const USERS: readonly { pattern: RegExp; replacement: string }[] = [
  { pattern: /[\w.+-]{1,100}@[a-z0-9[(][^\s"'<>(),;]{0,200}/gi, replacement: USER },
  {
    pattern: /\b(user|username|user_name|login|role)(["']?\s{0,3}[=:]\s{0,3}["']?)(?!\()[^\s"',;&)]+/gi,
    replacement: `$1$2${USER}`,
  },
  { pattern: /\b(user|username|login|role)\s+(["'`])[^"'`]{1,200}\2/gi, replacement: `$1 ${USER}` },
  { pattern: /\b((?:for|by|as|of) (?:the )?user)\s+(?!\()[^\s"',;:]+/gi, replacement: `$1 ${USER}` },
  // ClickHouse: `bob: Authentication failed`, `bob: Not enough privileges`
  {
    pattern: /[^\s:,;"'()]{1,200}(?=: (?:Authentication failed|Not enough privileges))/g,
    replacement: USER,
  },
];

export interface RemoteTextOptions {
  /** Takes out the secrets that the remote side was given. */
  hide?: (text: string) => string;
  /** Longer texts are cut. Default 500. */
  charsMax?: number;
  /** Leaves the names of users: where they are the caller's own, and a remedy needs them. */
  keepUsers?: boolean;
}

/**
 * A text of a remote side (an error, a warning, a remark), fit for one line of a log or an answer: without the secrets that the side was
 * given, control characters, network addresses, host names, URLs and names of users; at most `charsMax` characters.
 */
export function toRemoteText(text: string, options: RemoteTextOptions = {}): string {
  const { hide, charsMax = TEXT_CHARS_MAX, keepUsers = false } = options;
  // Secrets first: a cut one would not be found.
  const known = hide ? hide(text) : text;
  const line = known
    .slice(0, charsMax * 4)
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ")
    .trim();
  const named = (keepUsers ? ADDRESSES : [...ADDRESSES, ...USERS]).reduce(
    (rest, { pattern, replacement }) => rest.replaceAll(pattern, replacement),
    line,
  );
  return named.slice(0, charsMax);
}
