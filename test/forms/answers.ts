import type { ClusterState } from "#query/state/cluster-state.ts";
import { differences, rowDifferences } from "./compare.ts";
import type { Form } from "./form.ts";

type Answer<Name extends keyof ClusterState> = Awaited<ReturnType<ClusterState[Name]>>;

/** Where the answers come from: the engine, or the program over HTTP. Each is asked only if a form speaks of it. */
export interface Answers {
  summary: () => Promise<Answer<"summary">>;
  nodes: () => Promise<Pick<Answer<"nodes">, "nodes">>;
  pods: () => Promise<Pick<Answer<"pods">, "pods">>;
  gpus: () => Promise<Pick<Answer<"gpus">, "gpus">>;
  health: () => Promise<Pick<Answer<"health">, "issues">>;
}

/** The answers that the form speaks of beside what it says: what is wrong, one line each. */
export async function judgeAnswers(form: Omit<Form, "needs" | "source">, ask: Answers): Promise<string[]> {
  const found: string[] = [];
  if (form.summary) found.push(...differences(await ask.summary(), form.summary, "summary"));
  if (form.nodes) {
    const rows = toRows((await ask.nodes()).nodes, ({ node }) => node);
    found.push(...rowDifferences(rows, form.nodes, "nodes"));
  }
  if (form.pods) {
    const rows = toRows((await ask.pods()).pods, ({ namespace, pod }) => `${namespace}/${pod}`);
    found.push(...rowDifferences(rows, form.pods, "pods"));
  }
  if (form.gpus) {
    const nameOf = ({ uuid, mig_instance: part }: { uuid: string; mig_instance: string | null }): string =>
      part === null ? uuid : `${uuid}/${part}`;
    found.push(...rowDifferences(toRows((await ask.gpus()).gpus, nameOf), form.gpus, "gpus"));
  }
  if (form.health) {
    const lines = (await ask.health()).issues.map(({ severity, metric, node, object }) =>
      [severity, metric, node ?? "-", object ?? "-"].join(" "),
    );
    found.push(...differences(lines.sort(), [...form.health].sort(), "health"));
  }
  return found;
}

/** Rows by name; a second row of a name gets a number, so that it is seen. */
function toRows<Row extends object>(all: readonly Row[], nameOf: (row: Row) => string): Map<string, Row> {
  const rows = new Map<string, Row>();
  for (const row of all) {
    const name = nameOf(row);
    rows.set(rows.has(name) ? `${name} (${rows.size})` : name, row);
  }
  return rows;
}
