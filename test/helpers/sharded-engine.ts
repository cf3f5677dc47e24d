import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { openChdb, type EmbeddedDatabase } from "#allinone/chdb.ts";
import { DISTRIBUTED_SETTINGS } from "#storage/distributed.ts";
import { createSilentLogger } from "./silent-logger.ts";
import { createTemporaryFolder } from "./temporary-folder.ts";

export const SHARDS = 2;

/**
 * The embedded engine with a cluster `shards` of two shards, both of which are itself (tcp_port makes their address its own, so nothing is sent over a network). A row is
 * inserted into one of them, so it is stored once; a statement that reads both of them sees each row twice. Its statements have the settings of the query role, and the
 * Collector's distributed_foreground_insert.
 */
export function useShardedEngine(): { readonly database: EmbeddedDatabase } {
  const path = join(createTemporaryFolder(), "clickhouse");
  let opened: EmbeddedDatabase | undefined;
  beforeAll(async () => {
    const chdb = await import("chdb");
    class ShardedSession extends chdb.Session {
      constructor(dataPath: string, options: { connectionArgs: readonly string[] }) {
        addCluster(join(path, "engine.xml"));
        super(dataPath, { connectionArgs: [...options.connectionArgs] });
        const settings = { ...DISTRIBUTED_SETTINGS, distributed_foreground_insert: 1 };
        for (const [name, value] of Object.entries(settings)) this.query(`SET ${name} = '${value}'`);
      }
    }
    const load = async () => ({ Session: ShardedSession, drainPending: chdb.drainPending });
    opened = await openChdb({ path, logger: createSilentLogger(), memoryBytesMax: 1_000_000_000, load });
  });
  afterAll(() => opened?.close());
  return {
    get database() {
      if (!opened) throw new Error("the engine is open inside tests only");
      return opened;
    },
  };
}

function addCluster(configFile: string): void {
  const config = readFileSync(configFile, "utf8");
  if (config.includes("<remote_servers>")) return;
  const shard = "<shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>";
  const cluster = `<tcp_port>9000</tcp_port><remote_servers><shards>${shard.repeat(SHARDS)}</shards></remote_servers>`;
  writeFileSync(configFile, config.replace("</clickhouse>", `${cluster}</clickhouse>`));
}
