/**
 * Label values that break careless parsers, writers and tables; all are valid UTF-8 and legal in Prometheus.
 */
export const ODD_TEXTS: readonly string[] = [
  'say "hi"',
  "back\\slash\\",
  "two\nlines\r\n",
  "tab\there",
  "caf\u00e9 e\u0301",
  "日本語 Ελληνικά",
  "🚀 👩‍💻",
  " ",
  "\u200b",
  "<a href='x'>&amp;</a>",
  "ctrl\u0001\u001f\u007f",
  "line\u2028paragraph\u2029",
  '],"values":[[1,"2"]]}',
  "\\u0041\\n",
  "{{.Value}} $(id) ${x} %s",
  "x".repeat(500),
];

/** Values at the edges of a double, by the label that tells them apart. */
export const ODD_VALUES: readonly (readonly [name: string, value: number])[] = [
  ["nan", Number.NaN],
  ["plus-inf", Number.POSITIVE_INFINITY],
  ["minus-inf", Number.NEGATIVE_INFINITY],
  ["smallest", 5e-324],
  ["largest", 1.7976931348623157e308],
  ["minus-zero", -0],
  ["long", 0.1 + 0.2],
  ["small", 1e-7],
  ["micro", 0.000001],
  ["large", 1e21],
  ["below-large", 123456789012345680000],
  ["two-to-53", 9007199254740992],
  ["negative", -1234.5678],
];
