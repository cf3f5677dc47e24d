/** A filter of POST /cluster-metrics/query. */
export interface Filter {
  label: string;
  op: string;
  value: string;
}

export const OPERATORS = ["=", "!=", "=~", "!~"];

const FILTER = /^([^=!~]*)(=~|!~|!=|=)(.*)$/s;

/** Parts of a text that commas separate. */
export function words(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

const escaped = (character: string): string => `%${character.charCodeAt(0).toString(16).padStart(2, "0")}`;

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** `mode!=idle,cpu=~0|1`: as filters are in an address. Commas, spaces and %, and the signs of operators in a label, are escaped. */
export function toText(filters: readonly Filter[]): string {
  return filters
    .map(
      ({ label, op, value }) =>
        label.replaceAll(/[%, =!~]/g, escaped) + op + value.replaceAll(/[%, \t\n\r]/g, escaped),
    )
    .join(",");
}

/** Reads them again; what is no filter is left out. */
export function toFilters(text: string): Filter[] {
  return words(text).flatMap((word) => {
    const [, label = "", op, value = ""] = FILTER.exec(word) ?? [];
    return op === undefined || label === ""
      ? []
      : [{ label: unescaped(label.trim()), op, value: unescaped(value) }];
  });
}
