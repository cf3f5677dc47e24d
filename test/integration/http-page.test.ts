import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ACCESS, errorOf, SECURITY_HEADERS, startHarness, type Harness } from "./http-harness.ts";

const PAGE = join(import.meta.dirname, "../../src/page");
const SETTINGS = { role: "bridge", bridgeUrl: null };

let harness: Harness;
let answer: Response;
let html: string;
beforeAll(async () => {
  harness = await startHarness({ access: ACCESS, settings: { page: SETTINGS } });
  answer = await open("/");
  html = await answer.text();
});
afterAll(() => harness.server.stop());

function open(path: string, headers: Record<string, string> = {}): Promise<Response> {
  // As Chromium's address bar sends it.
  return fetch(harness.url + path, {
    headers: { accept: "text/html,application/xml;q=0.9,*/*;q=0.8", ...headers },
  });
}

/** Every URL of the document. */
function urls(): string[] {
  return [...html.matchAll(/(?:href|src)="([^"]+)"/g)].map(([, url]) => url!);
}

function importMap(): { text: string; imports: Record<string, string> } {
  const text = /<script type="importmap">([^<]*)<\/script>/.exec(html)?.[1] ?? "";
  return { text, imports: (JSON.parse(text) as { imports: Record<string, string> }).imports };
}

describe("GET / with a page", () => {
  it("answers browsers the document, and everybody else the index", async () => {
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(answer.headers.get("vary")).toBe("accept");
    for (const accept of ["*/*", "application/json"]) {
      const index = await fetch(`${harness.url}/`, { headers: { accept } });
      expect(index.headers.get("vary")).toBe("accept");
      expect(await index.json()).toMatchObject({ name: "budcluster", links: { docs: "/docs" } });
    }
  });

  it("has the headers of every answer, but a policy of its own that allows this server's files and nothing else", () => {
    const { "content-security-policy": _policy, "cache-control": _cache, ...others } = SECURITY_HEADERS;
    expect(Object.fromEntries(answer.headers)).toMatchObject(others);
    const hash = createHash("sha256").update(importMap().text).digest("base64");
    expect(answer.headers.get("content-security-policy")?.split("; ")).toEqual([
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
    ]);
  });

  it("is checked by each visit and sent only when it changed", async () => {
    expect(answer.headers.get("cache-control")).toBe("no-cache");
    const again = await open("/", { "if-none-match": answer.headers.get("etag") ?? "" });
    expect(again.status).toBe(304);
    expect(await again.text()).toBe("");
  });

  it("says what the page must know of the program, and nothing of its clusters", () => {
    const content = /name="budcluster" content="([^"]*)"/.exec(html)?.[1] ?? "";
    expect(JSON.parse(content.replaceAll("&quot;", '"'))).toEqual({
      role: "bridge",
      bridgeUrl: null,
      version: "0.0.0",
      needsToken: true,
      parts: { collection: true, changes: false, queries: false },
    });
    expect(html).not.toContain("edge-1");
  });

  it("is not there with PAGE_ENABLED=false", async () => {
    const without = await startHarness();
    const index = await fetch(`${without.url}/`, { headers: { accept: "text/html" } });
    expect(await index.json()).toMatchObject({ name: "budcluster" });
    const file = await fetch(without.url + (urls().find((url) => url.endsWith("page.js")) ?? ""));
    expect(await errorOf(file)).toMatchObject({ code: "not_found" });
    await without.server.stop();
  });
});

describe("the files of the page", () => {
  it("are all there, without a token, for ever, and as scripts, styles or pictures only", async () => {
    const files = [...new Set([...urls(), ...Object.values(importMap().imports)])].filter(
      (url) => url !== "/docs",
    );
    expect(files.length).toBe(9);
    for (const url of files) {
      const file = await fetch(harness.url + url);
      const kind = url.endsWith(".css")
        ? "text/css; charset=utf-8"
        : url.endsWith(".svg")
          ? "image/svg+xml"
          : "text/javascript; charset=utf-8";
      expect(`${url} ${file.status} ${file.headers.get("content-type")}`).toBe(`${url} 200 ${kind}`);
      expect(file.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
      expect(file.headers.get("content-encoding")).toBe("gzip");
      const plain = await fetch(harness.url + url, { headers: { "accept-encoding": "identity" } });
      expect(plain.headers.get("content-encoding")).toBeNull();
      expect(await plain.text()).toBe(await file.text());
    }
  });

  it("are preloaded, so that the first content waits for one round trip, but for the charts' library", () => {
    const preloaded = [...html.matchAll(/rel="modulepreload" href="([^"]+)"/g)].map(([, url]) =>
      url?.split("/").at(-1),
    );
    expect(preloaded).toHaveLength(6);
    expect(preloaded).toContain("page.js");
    expect(preloaded).not.toContain("uplot.js");
  });

  it.each([
    ["a file that there is not", (base: string) => `${base}other.ts`],
    ["another version", () => "/page/0123456789abcdef/page.js"],
    ["a path out of the folder", (base: string) => `${base}..%2f..%2fpackage.json`],
    ["a path that is encoded twice", (base: string) => `${base}%252e%252e/page.js`],
    ["a module by itself", (base: string) => `${base}main.ts`],
  ])("are not there: %s", async (_name, path) => {
    const base = /\/page\/\w+\//.exec(html)?.[0] ?? "";
    const refused = await fetch(harness.url + path(base));
    expect(refused.status).toBe(404);
    expect(await errorOf(refused)).toMatchObject({ code: "not_found" });
  });

  it("import each other and the libraries of the import map, and nothing else", () => {
    const allowed = Object.keys(importMap().imports);
    for (const name of readdirSync(PAGE).filter((file) => file.endsWith(".ts"))) {
      const text = readFileSync(join(PAGE, name), "utf8");
      const imported = [...text.matchAll(/(?:from|import)\s*\(?"([^"]+)"/g)].map(([, from]) => from!);
      const others = imported.filter((from) => !/^\.\/[a-z-]+\.ts$/.test(from) && !allowed.includes(from));
      expect(`${name}: ${others.join(" ")}`).toBe(`${name}: `);
    }
  });
});
