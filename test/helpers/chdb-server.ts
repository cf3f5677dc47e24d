import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { quoteText } from "#allinone/literals.ts";
import type { Database } from "#storage/database.ts";

export interface ChdbServer {
  url: string;
  stop(): Promise<void>;
}

const ESCAPES: Record<string, string> = { t: "\t", n: "\n", r: "\r", b: "\b", f: "\f", 0: "\0" };

/** The engine behind ClickHouse's HTTP interface, as far as this program's client uses it: statements in the body, `param_NAME` in the URL. */
export async function startChdbServer(database: Database): Promise<ChdbServer> {
  const run = async (request: IncomingMessage): Promise<string | Uint8Array> => {
    const { searchParams } = new URL(request.url ?? "/", "http://localhost");
    const [statement = "", format] = (await text(request)).split(/\s+FORMAT (JSONEachRow|Native)\s*$/);
    const sql = bind(statement, searchParams);
    if (sql.startsWith("KILL QUERY")) return "";
    if (format === undefined) {
      await database.command(sql);
      return "";
    }
    if (format === "Native") return await database.queryNative(sql);
    const rows = await database.query(sql);
    return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  };
  const server = createServer((request, response) => {
    run(request).then(
      (body) => response.end(body),
      (error: unknown) => {
        response.statusCode = 500;
        response.end(`Code: 1. DB::Exception: ${String(error)}. (UNSUPPORTED_METHOD)`);
      },
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** ClickHouse reads a parameter as the text of its type, and a text with the escapes of TabSeparated. */
function bind(sql: string, parameters: URLSearchParams): string {
  return sql.replaceAll(
    /\{([a-z_][a-z0-9_]*):([A-Za-z0-9]+(?:\([A-Za-z0-9]+\))?)\}/gi,
    (token, name: string, type: string) => {
      const given = parameters.get(`param_${name}`);
      if (given === null) return token;
      const value = type.startsWith("Array")
        ? given
        : given.replaceAll(/\\(.)/gs, (_, letter: string) => ESCAPES[letter] ?? letter);
      return `CAST(${quoteText(value)}, '${type}')`;
    },
  );
}
