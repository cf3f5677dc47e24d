// Requests of `helm test` to the installed services: [base URL, path, expected status]. Without ADMIN_TOKEN, only those that need no token.
const { BRIDGE_URL, QUERY_URL, ADMIN_TOKEN } = process.env;
const headers = ADMIN_TOKEN ? { authorization: `Bearer ${ADMIN_TOKEN}` } : {};
const open = [
  [BRIDGE_URL, "/healthz", 200],
  [BRIDGE_URL, "/readyz", 200],
  [QUERY_URL, "/healthz", 200],
  [QUERY_URL, "/readyz", 200],
];
const guarded = [
  [BRIDGE_URL, "/clusters", 200],
  [BRIDGE_URL, "/metrics/status", 200],
  // The tables exist: an unknown cluster gives a 404, not an error of ClickHouse.
  [QUERY_URL, "/cluster-metrics/helm-test-unknown/summary", 404],
];
for (const [base, path, expected] of ADMIN_TOKEN ? [...open, ...guarded] : open) {
  // The query service is optional.
  if (!base) continue;
  const { status, text } = await fetch(`${base}${path}`, {
    headers,
    signal: AbortSignal.timeout(20_000),
  }).then(
    async (response) => ({ status: response.status, text: await response.text() }),
    (error) => ({ status: 0, text: error.cause?.code ?? error.message }),
  );
  const passed = status === expected;
  if (!passed) process.exitCode = 1;
  const why = passed ? "" : `, expected ${expected}: ${text.slice(0, 500)}`;
  process.stdout.write(`${passed ? "pass" : "FAIL"} ${base}${path} ${status}${why}\n`);
}
