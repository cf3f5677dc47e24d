import type { MigrationPlan, MigrationStatus } from "./migration-plan.ts";

/** A plan as the command line shows it: every statement as it would be sent. */
export function toPlanText(plan: MigrationPlan): string {
  const files = plan.pending.map(
    ({ name, statements }) => `-- ${name}\n${statements.map((statement) => `${statement};\n`).join("\n")}`,
  );
  const parts = [
    ...files,
    ...section("retention", plan.retention),
    ...section("Distributed tables", plan.distributed),
  ];
  const head = `-- ClickHouse ${plan.serverVersion}: ${parts.length === 0 ? "nothing to do" : "nothing of this was done"}\n`;
  return [head, ...parts].join("\n");
}

function section(title: string, statements: readonly string[]): string[] {
  return statements.length === 0 ? [] : [`-- ${title}\n${statements.map((each) => `${each};\n`).join("")}`];
}

/** A status as the command line shows it, a line an item. */
export function toStatusText(status: MigrationStatus): string {
  const { serverVersion, serverSupported, serverVersionMin, retention } = status;
  const others = retention.filter(({ days, wantedDays }) => days !== wantedDays);
  const lines = [
    ["server", `ClickHouse ${serverVersion}${serverSupported ? "" : ` is older than ${serverVersionMin}`}`],
    ...status.applied.map(({ name, appliedAt, state }) => [state, `${name} (applied ${appliedAt})`] as const),
    ...status.pending.map((name) => ["pending", name] as const),
    ...status.foreign.map((text) => ["foreign", text] as const),
    ...others.map(
      ({ table, days, wantedDays }) =>
        ["retention", `${table}: ${days ?? "no number of"} days, not ${wantedDays}`] as const,
    ),
    ...status.distributed.map((statement) => ["missing", statement.split("\n")[0]] as const),
  ];
  return lines.map(([word, text]) => `${word.padEnd(10)}${text}\n`).join("");
}

/** Would `migrate` have nothing to do, and nothing to refuse? */
export function isUpToDate(status: MigrationStatus): boolean {
  return (
    status.serverSupported &&
    status.pending.length === 0 &&
    status.foreign.length === 0 &&
    status.distributed.length === 0 &&
    status.applied.every(({ state }) => state === "applied") &&
    status.retention.every(({ days, wantedDays }) => days === wantedDays)
  );
}
