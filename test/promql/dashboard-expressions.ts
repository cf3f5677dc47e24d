import { readFileSync } from "node:fs";
import { join } from "node:path";
import { toLabelValues } from "../helpers/grafana.ts";

/** What a public dashboard asks for, with its variables filled in. */
export interface AskedExpression {
  panel: string;
  expr: string;
}

/** A variable of a public dashboard. */
export interface AskedVariable {
  panel: string;
  selector: string;
  label: string;
}

interface DashboardSet {
  expressions: { panel: string; expr: string }[];
  variables: { panel: string; expr: string }[];
}

/** The name of the cluster that the dashboards are asked about. */
export const CLUSTER = "edge";
const MATCHER = /([A-Za-z_]\w*)(\s*(?:=~|!~|!=|=)\s*)"([^"]*)"/g;
const VARIABLE = /\$\{?\w+\}?/g;

/** The value that the variable of a label has. */
function valueOf(label: string): string {
  return label === "cluster" ? CLUSTER : `${label}-0`;
}

/** As a reader who chose the first value of each variable. */
function fillIn(expr: string): string {
  return expr
    .replaceAll(MATCHER, (_all, label: string, operator: string, value: string) => {
      return `${label}${operator}"${value.replaceAll(VARIABLE, valueOf(label))}"`;
    })
    .replaceAll("$__rate_interval", "1m");
}

/** Reads `expressions.json` of the folder: the expressions and variables of the public dashboards. */
export function readDashboards(folder: string): {
  expressions: AskedExpression[];
  variables: AskedVariable[];
} {
  const sets = Object.values(
    JSON.parse(readFileSync(join(folder, "expressions.json"), "utf8")) as Record<string, DashboardSet>,
  );
  return {
    expressions: sets.flatMap(({ expressions }) =>
      expressions.map(({ panel, expr }) => ({ panel, expr: fillIn(expr) })),
    ),
    variables: sets.flatMap(({ variables }) =>
      variables.map(({ panel, expr }) => {
        const { selector, label } = toLabelValues(expr);
        return { panel, label, selector: fillIn(selector) };
      }),
    ),
  };
}
