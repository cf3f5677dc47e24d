import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

// The statements of each call as they were before the table `series`, the memory of the collection's record and literal parameters
// (docs/decisions/0022-few-statements.md), with bound parameters, which chdb runs one after another in the whole process. What the program did beside is left out.

/** A time is given by its distance from the end of the stored data. */
type Value = string | number | string[] | { end: number } | { cluster: true };

interface OldStatements {
  statements: string[];
  calls: Record<string, { statement: number; parameters: Record<string, Value> }[]>;
}

interface Session {
  query(sql: string): string;
  queryBindAsync(sql: string, parameters: object, options: { format: string }): Promise<{ text(): string }>;
  close(): void;
}

const old = JSON.parse(
  readFileSync(join(import.meta.dirname, "old-statements.json"), "utf8"),
) as OldStatements;

export interface OldCalls {
  call(name: string, cluster: string): Promise<void>;
  close(): void;
}

/** `path`: the folder of the open engine. */
export function openOldCalls(path: string, endMs: number): OldCalls {
  const { Session } = createRequire(import.meta.url)("chdb") as {
    Session: new (path: string, options: { connectionArgs: readonly string[] }) => Session;
  };
  const options = { connectionArgs: [`--config-file=${join(path, "engine.xml")}`] };
  const session = new Session(join(path, "data"), options);
  session.query("SET output_format_json_quote_64bit_integers = 1, output_format_json_quote_denormals = 1");
  const toParameter = (value: Value, cluster: string): string | number | string[] => {
    if (typeof value !== "object" || Array.isArray(value)) return value;
    return "cluster" in value ? cluster : String(endMs + value.end);
  };
  return {
    call: async (name, cluster) => {
      for (const { statement, parameters } of old.calls[name]!) {
        const bound = Object.entries(parameters).map(([key, value]) => [key, toParameter(value, cluster)]);
        const format = { format: "JSONEachRow" };
        const result = await session.queryBindAsync(
          old.statements[statement]!,
          Object.fromEntries(bound),
          format,
        );
        for (const line of result.text().split("\n")) if (line !== "") JSON.parse(line);
      }
    },
    close: () => session.close(),
  };
}
