// Any answer counts: the migration itself reports a wrong server or password.
const { CLICKHOUSE_URL, WAIT_SECONDS } = process.env;
const until = Date.now() + Number(WAIT_SECONDS) * 1000;
const url = new URL("/ping", CLICKHOUSE_URL);
for (;;) {
  const failure = await fetch(url, { signal: AbortSignal.timeout(5000) }).then(
    () => undefined,
    (error) => error.cause?.code ?? error.cause?.message ?? error.message,
  );
  if (failure === undefined) break;
  process.stdout.write(`waiting for ClickHouse at ${url.host}: ${failure}\n`);
  if (Date.now() >= until) {
    process.stderr.write(`ClickHouse did not answer within ${WAIT_SECONDS} s (migration.waitSeconds)\n`);
    process.exit(1);
  }
  await new Promise((resolve) => setTimeout(resolve, 3000));
}
