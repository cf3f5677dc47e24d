interface Datasource {
  type: string;
  uid: string;
}

/** A dashboard's JSON, as far as tests look at it. */
export interface Dashboard {
  uid: string;
  title: string;
  panels: {
    id: number;
    type: string;
    title: string;
    datasource?: Datasource;
    gridPos: { x: number; y: number; w: number; h: number };
    targets?: { refId: string; expr: string; instant: boolean; datasource: Datasource }[];
  }[];
  templating: {
    list: {
      name: string;
      type: string;
      definition?: string;
      query: string | { query: string };
      multi?: boolean;
      datasource?: Datasource;
    }[];
  };
}

/** Of $__rate_interval, where nothing else is said. */
const RATE_INTERVAL = "2m";

/** As Grafana replaces $name, ${name} and [[name]] before a request: by the value, by `.*` where there is none. */
export function replaceVariables(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]/g, (_all, a, b, c) => {
    const name = String(a ?? b ?? c);
    return values[name] ?? (name.startsWith("__") ? RATE_INTERVAL : ".*");
  });
}

/** The parts of `label_values(selector, label)`. */
export function toLabelValues(query: string): { selector: string; label: string } {
  const [, selector, label] = /^label_values\((.*),\s*(\w+)\)$/s.exec(query.trim()) ?? [];
  if (selector === undefined || label === undefined) throw new Error(`not label_values: ${query}`);
  return { selector: selector.trim(), label };
}
