import { createHash } from "node:crypto";
import type { PageBuild } from "./page-build.ts";

/** What the page must know before its first request: of the program, nothing of its clusters. */
export interface PageSettings {
  role: string;
  version: string;
  /** Whether requests need a token. */
  needsToken: boolean;
  /** The routes that exist in this role. */
  parts: {
    /** /clusters and /metrics/status. */
    collection: boolean;
    /** POST, PATCH and DELETE /clusters. */
    changes: boolean;
    /** /cluster-metrics. */
    queries: boolean;
  };
  /** PAGE_BRIDGE_URL: the page of the bridge, for what the query role does not know. */
  bridgeUrl: string | null;
}

export interface PageDocument {
  html: string;
  /** Of the document alone; its files need none. */
  policy: string;
  etag: string;
}

/** The document of the page: the template with its settings, and the policy that allows it this server's files and nothing else. */
export function toPageDocument(build: PageBuild, settings: PageSettings): PageDocument {
  const base = `/page/${build.version}/`;
  const imports = Object.fromEntries(
    Object.entries(build.imports).map(([name, path]) => [name, base + path]),
  );
  const importMap = JSON.stringify({ imports });
  const preloads = build.modules.map((path) => `<link rel="modulepreload" href="${base}${path}">`);
  const html = build.template
    .replaceAll("{{base}}", base)
    .replace("{{settings}}", () => escapeHtml(JSON.stringify(settings)))
    .replace("{{scripts}}", () =>
      [`<script type="importmap">${importMap}</script>`, ...preloads].join("\n    "),
    );
  const etag = `"${createHash("sha256").update(html).digest("hex").slice(0, 32)}"`;
  return { html, policy: toPolicy(importMap), etag };
}

/**
 * Scripts are the server's files and the import map, by its hash; no text ever becomes a script (trusted types); requests go to this server
 * only.
 */
function toPolicy(importMap: string): string {
  const hash = createHash("sha256").update(importMap).digest("base64");
  return [
    "default-src 'none'",
    `script-src 'self' 'sha256-${hash}'`,
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"]/g, (character) => ENTITIES[character] ?? "");
}
