import { openChdb } from "#allinone/chdb.ts";
import { systemClock } from "#lib/clock.ts";
import { migrate } from "#storage/migrate.ts";
import { createSilentLogger } from "./silent-logger.ts";

// A process that migrates an embedded engine's folder and is killed (SIGKILL, by itself: no later step of it can run) at one of the statements that change something.
// Arguments: folder, folder of migrations ("": the program's), the statement ("": none), `sent` (while the engine executes it) or `done` (just after).
// Prints its statements as JSON, each as the argument names it.

const [path = "", directory = "", fatal = "", when = "done"] = process.argv.slice(2);
const database = await openChdb({ path, logger: createSilentLogger(), memoryBytesMax: 1_000_000_000 });
const statements: string[] = [];
const die = (): void => void process.kill(process.pid, "SIGKILL");
await migrate(
  {
    ...database,
    command: async (sql, parameters = {}, signal) => {
      const name = `${sql} ${JSON.stringify(parameters)}`;
      statements.push(name);
      const running = database.command(sql, parameters, signal);
      if (name === fatal && when === "sent") setImmediate(die);
      await running;
      if (name === fatal) die();
    },
  },
  {
    parameters: { database: "metrics", retentionDays: 90, seriesRetentionDays: 120 },
    clock: systemClock,
    logger: createSilentLogger(),
    lock: { assertHeld: async () => {}, release: async () => {} },
    signal: new AbortController().signal,
    ...(directory === "" ? {} : { directory }),
  },
);
process.stdout.write(JSON.stringify(statements));
await database.close();
