/** What the server says in the document (src/http/page-document.ts). */
export interface Settings {
  role: string;
  version: string;
  needsToken: boolean;
  parts: { collection: boolean; changes: boolean; queries: boolean };
  bridgeUrl: string | null;
}

function readSettings(): Settings {
  const content = document.querySelector('meta[name="budcluster"]')?.getAttribute("content") ?? "{}";
  return JSON.parse(content) as Settings;
}

export const settings: Settings = readSettings();
