import type { ServerResponse } from "node:http";
import { beforeAll, beforeEach, afterEach, describe, expect, test } from "vitest";
import { createCertificate, type Certificate } from "../helpers/certificates.ts";
import { addPrometheus, startKubeApi, type FakeKubeApi } from "../helpers/kube-api.ts";
import { expectBridgeError, openTestTunnel } from "../helpers/tunnel.ts";

let certificate: Certificate;
let api: FakeKubeApi;

beforeAll(async () => {
  certificate = await createCertificate("localhost");
});
beforeEach(async () => {
  api = await startKubeApi(certificate);
  addPrometheus(api, [{ name: "prometheus-0" }]);
});
afterEach(() => api.close());

const SERVICE = "/api/v1/namespaces/monitoring/services/prometheus";
const SLICES = "/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices";
const NODES = "/api/v1/nodes";
const MIB = 1 << 20;

/** `open`, then `piece` as often as it takes to `bytes`, then `close`. Written as fast as it is read. */
function hostile(open: string, piece: string, close: string, bytes = 31 * MIB) {
  const block = Buffer.from(piece.repeat(Math.ceil(65_536 / piece.length)));
  return (_request: unknown, response: ServerResponse): void => {
    response.writeHead(200, { "content-type": "application/json" });
    response.write(open);
    let sent = 0;
    const more = (): void => {
      while (sent < bytes) {
        sent += block.length;
        if (!response.write(block)) return void response.once("drain", more);
      }
      response.end(`${piece.replace(/,$/, "")}${close}`);
    };
    more();
  };
}

describe("answers beyond any cluster", () => {
  const endpoint = '{"conditions":{"ready":true},"targetRef":{"kind":"Pod","name":"p","uid":"u"}},';
  test.each<[string, string, ReturnType<typeof hostile>]>([
    ["slices: 11 million empty ones", SLICES, hostile('{"items":[', "{},", "]}")],
    ["slices: one with endless endpoints", SLICES, hostile('{"items":[{"endpoints":[', endpoint, "]}]}")],
    ["slices: one with endless ports", SLICES, hostile('{"items":[{"ports":[', '{"port":1},', "]}]}")],
    ["slices: deep brackets", SLICES, hostile('{"items":', "[", "")],
    ["slices: deep brackets that nobody wants", SLICES, hostile('{"x":', '{"a":', "")],
    ["slices: an endless name", SLICES, hostile('{"items":[{"ports":[{"name":"', "x", '"}]}]}')],
    ["slices: an endless text that nobody wants", SLICES, hostile('{"x":"', "x", '"}')],
    ["slices: an endless member's name", SLICES, hostile('{"', "x", '":1}')],
    ["slices: an endless number", SLICES, hostile('{"items":', "1", "}")],
    ["slices: an endless token of the next page", SLICES, hostile('{"metadata":{"continue":"', "x", '"}}')],
    ["slices: endless white space", SLICES, hostile("{", " ", "}")],
    [
      "service: endless ports",
      SERVICE,
      hostile('{"spec":{"selector":{"a":"b"},"ports":[', '{"port":1},', "]}}"),
    ],
    ["service: an endless selector", SERVICE, hostile('{"spec":{"selector":{', '"a":"b",', "}}}")],
    ["service: deep brackets", SERVICE, hostile('{"spec":', "[", "")],
  ])("%s: a cluster_api_error of a few words", async (_name, path, answer) => {
    api.answers.set(path, answer);
    const error = await expectBridgeError(openTestTunnel(api), "cluster_api_error");
    expect(JSON.stringify([error.message, error.hint, error.details]).length).toBeLessThan(8192);
  });

  test.each<[string, ReturnType<typeof hostile>]>([
    ["millions of empty ones", hostile('{"items":[', "{},", "]}")],
    [
      "endless addresses",
      hostile(
        '{"items":[{"metadata":{"name":"n"},"status":{"addresses":[',
        '{"type":"InternalIP","address":"10.0.0.1"},',
        "]}}]}",
      ),
    ],
    ["deep brackets", hostile('{"items":', "[", "")],
    ["an endless name", hostile('{"items":[{"metadata":{"name":"', "x", '"}}]}')],
  ])("nodes: %s are a warning", async (_name, answer) => {
    api.answers.set(NODES, answer);
    const tunnel = await openTestTunnel(api);
    expect(tunnel.nodeNames.size).toBe(0);
    expect(tunnel.warnings.join()).toMatch(/node names are not known: .*(cluster_api_error)/);
    await tunnel.close();
  });
});

/** Serves `objects` by pages as an API server does: the token is an offset. `onPage` may answer instead. */
function servePages(
  path: string,
  objects: readonly string[],
  onPage?: (limit: number, from: number, response: ServerResponse) => boolean,
): number[] {
  const limits: number[] = [];
  api.answers.set(path, (request, response) => {
    const { searchParams } = new URL(request.url ?? "", api.url);
    const limit = Number(searchParams.get("limit"));
    const from = Number(searchParams.get("continue") ?? 0);
    limits.push(limit);
    if (onPage?.(limit, from, response)) return;
    const items = objects.slice(from, from + limit);
    const next = from + items.length < objects.length ? `"continue":"${from + items.length}"` : "";
    response.writeHead(200, { "content-type": "application/json" });
    response.end(`{"kind":"List","metadata":{${next}},"items":[${items.join(",")}]}`);
  });
  return limits;
}

function node(i: number, bytes: number): string {
  const images = `{"names":["${"x".repeat(bytes)}"],"sizeBytes":1}`;
  const address = `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
  return `{"metadata":{"name":"node-${i}"},"status":{"images":[${images}],"addresses":[{"type":"InternalIP","address":"${address}"}]}}`;
}

function slice(i: number): string {
  const endpoints = Array.from({ length: 1000 }, (_, j) => {
    const targetRef = {
      kind: "Pod",
      namespace: "monitoring",
      name: `pod-${i}-${j}`,
      uid: `00000000-0000-0000-0000-${i}-${j}`,
    };
    const conditions = { ready: true, serving: true, terminating: false };
    return {
      addresses: ["10.0.0.1"],
      conditions,
      nodeName: "ip-10-0-0-1.ec2.internal",
      targetRef,
      zone: "eu-central-1a",
    };
  });
  const ports = [{ name: "web", port: 19_090, protocol: "TCP" }];
  return JSON.stringify({ metadata: { name: `s-${i}` }, addressType: "IPv4", endpoints, ports });
}

describe("real clusters", () => {
  test("100 slices of 1,000 endpoints: the pinned Pod is found among them", async () => {
    servePages(
      SLICES,
      Array.from({ length: 100 }, (_, i) => slice(i)),
    );
    const first = await openTestTunnel(api);
    expect(first.pod.name).toBe("pod-0-0");
    await first.close();
    const pinned = await openTestTunnel(api, { pinnedPodUid: "00000000-0000-0000-0000-99-999" });
    expect(pinned.pod.name).toBe("pod-99-999");
    await pinned.close();
  });

  test("nodes with more addresses than any cluster has: the first 40,000, and a warning", async () => {
    const objects = Array.from({ length: 2000 }, (_, i) => {
      const addresses = Array.from({ length: 32 }, (_, j) => ({
        type: "InternalIP",
        address: `10.${i}.${j}`,
      }));
      return JSON.stringify({ metadata: { name: `node-${i}` }, status: { addresses } });
    });
    servePages(NODES, objects);
    const tunnel = await openTestTunnel(api);
    expect(tunnel.warnings).toEqual(["node names: only the first 40000 addresses were read"]);
    expect(tunnel.nodeNames.size).toBe(40_000 + 2000);
    expect(tunnel.nodeNames.get("10.0.31")).toBe("node-0");
    expect(tunnel.nodeNames.get("node-1999")).toBe("node-1999");
    await tunnel.close();
  });

  test("nodes of 50 KB: all of them, by pages that fit", async () => {
    const limits = servePages(
      NODES,
      Array.from({ length: 500 }, (_, i) => node(i, 50_000)),
    );
    const tunnel = await openTestTunnel(api);
    expect(tunnel.nodeNames.get("10.0.1.243")).toBe("node-499");
    expect(tunnel.warnings).toEqual([]);
    expect(new Set(limits).size).toBe(1);
    await tunnel.close();
  });

  test("a page that is too large is halved until it fits, and nothing is read twice", async () => {
    const limits = servePages(
      NODES,
      Array.from({ length: 120 }, (_, i) => node(i, 400_000)),
    );
    const tunnel = await openTestTunnel(api);
    expect(tunnel.nodeNames.size).toBe(240);
    expect(tunnel.warnings).toEqual([]);
    expect(limits.slice(0, 4)).toEqual([100, 50, 25, 13]);
    expect(new Set(limits.slice(3))).toEqual(new Set([13]));
    await tunnel.close();
  });

  test("one object that is too large alone is an error that says so", async () => {
    const limits = servePages(SLICES, ['{"x":"'.concat("y".repeat(9 * MIB), '"}')]);
    const error = await expectBridgeError(openTestTunnel(api), "cluster_api_error");
    expect(error.message).toContain("larger than 8388608 bytes");
    expect(limits.at(-1)).toBe(1);
  });

  test("a list that expires while it is read is read from its beginning", async () => {
    const objects = Array.from({ length: 250 }, (_, i) => node(i, 10));
    let expired = 0;
    servePages(NODES, objects, (_limit, from, response) => {
      if (from !== 200 || expired++ > 0) return false;
      response.writeHead(410, { "content-type": "application/json" });
      response.end(
        '{"kind":"Status","status":"Failure","reason":"Expired","message":"The provided continue parameter is too old","code":410}',
      );
      return true;
    });
    const tunnel = await openTestTunnel(api);
    expect(tunnel.nodeNames.size).toBe(500);
    expect(tunnel.warnings).toEqual([]);
    await tunnel.close();
  });

  test("a list that expires each time is given up", async () => {
    const limits = servePages(
      NODES,
      Array.from({ length: 250 }, (_, i) => node(i, 10)),
      (_limit, from, response) => {
        if (from === 0) return false;
        response.writeHead(410).end("{}");
        return true;
      },
    );
    const tunnel = await openTestTunnel(api);
    expect(tunnel.warnings.join()).toContain("410");
    expect(limits.length).toBe(6);
    await tunnel.close();
  });
});

test("6 MiB of a Service's ports are an error of a few KiB that says how many ports there are", async () => {
  const ports = Array.from({ length: 12_000 }, (_, i) => ({
    name: `port-${i}-${"x".repeat(400)}`,
    port: i + 10_000,
  }));
  api.json(SERVICE, { spec: { type: "ClusterIP", selector: { app: "p" }, ports } });
  const error = await expectBridgeError(openTestTunnel(api), "prometheus_port_not_found");
  expect(JSON.stringify([error.message, error.hint, error.details]).length).toBeLessThan(8192);
  const { ports: shown, ports_omitted: omitted } = error.details as {
    ports: unknown[];
    ports_omitted: number;
  };
  expect(shown[0]).toEqual(ports[0]);
  expect(shown.length + omitted).toBe(12_000);
});
