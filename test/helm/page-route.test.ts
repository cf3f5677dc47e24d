import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { find, GIVEN_KEYS, overlay, render, type KubeObject, type Values } from "./helm.ts";

const PAGE = join(import.meta.dirname, "..", "..", "src", "page");
/** What the page asks for, by its sources: the first parts of the paths. */
const ASKED = [
  ...new Set(
    globSync("*.ts", { cwd: PAGE }).flatMap((name) =>
      [...readFileSync(join(PAGE, name), "utf8").matchAll(/(?<!hint=)["`](\/[a-z][a-z/-]*)/g)].map(
        ([, path]) => path!,
      ),
    ),
  ),
];
/** Of the bridge alone: the query role's page does not ask for these (src/page/settings.ts). */
const OF_BRIDGE = /^\/(metrics\/|clusters\/|clusters$|onboard)/;

interface Path {
  path: string;
  exact: boolean;
  service: string;
}

function pathsOf(objects: readonly KubeObject[], kind: "Ingress" | "HTTPRoute"): Path[] {
  const spec = find(objects, kind, "bud-api")["spec"] as {
    rules: {
      http?: {
        paths: { path: string; pathType: string; backend: { service: { name: string } } }[];
      };
      matches?: { path: { type: string; value: string } }[];
      backendRefs?: { name: string }[];
    }[];
  };
  return spec.rules.flatMap(({ http, matches = [], backendRefs = [] }) => [
    ...(http?.paths ?? []).map(({ path, pathType, backend }) => ({
      path,
      exact: pathType === "Exact",
      service: backend.service.name,
    })),
    ...matches.map(({ path: { type, value } }) => ({
      path: value,
      exact: type === "Exact",
      service: backendRefs[0]!.name,
    })),
  ]);
}

/** The service that answers a path, as Ingress and HTTPRoute choose it: the longest match of whole parts. */
function serviceOf(paths: readonly Path[], asked: string): string | undefined {
  const fitting = paths.filter(({ path, exact }) =>
    exact ? asked === path : asked === path || asked.startsWith(`${path}/`),
  );
  return fitting.toSorted((a, b) => b.path.length - a.path.length)[0]?.service;
}

const ROUTES = {
  ingress: (values: Values) => ({ ingress: { enabled: true, ...values } }),
  httpRoute: (values: Values) => ({
    httpRoute: { enabled: true, parentRefs: [{ name: "gateway" }], ...values },
  }),
};
const FILES = ["/", "/page/0123/page.js", "/page/0123/lib/uplot.js", "/docs", "/docs/json", "/whoami"];

describe.each(Object.entries(ROUTES))("%s", (name, valuesOf) => {
  const kind = name === "ingress" ? "Ingress" : "HTTPRoute";
  const routed = async (values: Values, more: Values = {}): Promise<Path[]> =>
    pathsOf(
      await render(overlay(GIVEN_KEYS, overlay(valuesOf(values), more)), {
        showOnly: ["templates/ingress.yaml"],
      }),
      kind,
    );

  test("reaches the query service's page with everything that it asks for", async () => {
    expect(ASKED.length).toBeGreaterThan(6);
    const paths = await routed({});
    for (const path of [...FILES, ...ASKED.filter((asked) => !OF_BRIDGE.test(asked))]) {
      expect([path, serviceOf(paths, path.replace(/(.)\/$/, "$1/x"))]).toEqual([path, "budmetrics"]);
    }
    expect(serviceOf(paths, "/metrics")).toBeUndefined();
    expect(serviceOf(paths, "/clusters")).toBeUndefined();
  });

  test("reaches the bridge's page if only the bridge is routed", async () => {
    const paths = await routed({ query: false, bridge: true });
    const asked = ASKED.filter((path) => !path.startsWith("/cluster-metrics"));
    for (const path of [...FILES, ...asked]) {
      expect([path, serviceOf(paths, path.replace(/(.)\/$/, "$1/x"))]).toEqual([path, "budcluster"]);
    }
    expect(serviceOf(paths, "/metrics")).toBeUndefined();
  });

  test("routes each path to one service when both are routed, and the page to the query service", async () => {
    const paths = await routed({ bridge: true });
    expect(new Set(paths.map(({ path }) => path)).size).toBe(paths.length);
    expect(serviceOf(paths, "/")).toBe("budmetrics");
    expect(serviceOf(paths, "/clusters/edge-1")).toBe("budcluster");
  });

  test.each([
    ["page.enabled is false", {}, { page: { enabled: false } }],
    ["its own page is false", { page: false }, {}],
  ])("routes the API alone if %s", async (_name, values, more) => {
    const paths = await routed(values, more);
    expect(paths.map(({ path }) => path)).toEqual(["/cluster-metrics", "/whoami"]);
  });
});
