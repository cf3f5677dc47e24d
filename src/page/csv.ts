export type CsvCell = string | number | null;

/** RFC 4180. A text that a spreadsheet would read as a formula begins with an apostrophe (OWASP, CSV injection). */
export function csvOf(rows: readonly (readonly CsvCell[])[]): string {
  return rows.map((row) => row.map(cellOf).join(",")).join("\r\n") + "\r\n";
}

function cellOf(value: CsvCell): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
