import { openChdb } from "#allinone/chdb.ts";
import { systemClock } from "#lib/clock.ts";
import { migrate } from "#storage/migrate.ts";
import { startChdbServer } from "../helpers/chdb-server.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";

// The embedded engine behind ClickHouse's HTTP interface, as a process of its own: prints its URL, and ends with its standard input. Arguments: its folder, and a database that it makes.

const [path, database] = process.argv.slice(2);
if (path === undefined || database === undefined) throw new Error("name a folder and a database");
const engine = await openChdb({
  path,
  logger: createSilentLogger(),
  memoryBytesMax: 4_000_000_000,
  statementTimeoutMs: 300_000,
});
await migrate(engine, {
  parameters: { database, retentionDays: 90 },
  clock: systemClock,
  logger: createSilentLogger(),
  signal: new AbortController().signal,
});
const server = await startChdbServer(engine);
console.log(server.url);
process.stdin.resume().once("end", () => process.exit());
