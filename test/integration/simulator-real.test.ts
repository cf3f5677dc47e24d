import { afterEach, expect, test } from "vitest";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startHttpServer, type TestServer } from "../helpers/http-server.ts";
import { callKube, openForward } from "./simulator-client.ts";

// The simulator before a real Prometheus, reached from other machines, as in compose.yaml.

let simulator: Simulator | undefined;
let prometheus: TestServer | undefined;

afterEach(async () => {
  await simulator?.stop();
  await prometheus?.close();
});

const GET = "GET /-/ready HTTP/1.1\r\nhost: prometheus\r\nconnection: close\r\n\r\n";

test("the first cluster's port-forward leads to the real Prometheus, the second's to its own", async () => {
  prometheus = await startHttpServer((response) => void response.end("I am real"));
  const { port } = new URL(prometheus.origin);
  simulator = await startSimulator({
    clusters: 2,
    realPrometheus: { host: "127.0.0.1", port: Number(port) },
  });
  const answers: string[] = [];
  for (const cluster of simulator.clusters) {
    const forward = await openForward(cluster);
    forward.send(GET);
    await forward.closed;
    answers.push(forward.data());
  }
  expect(answers[0]).toContain("I am real");
  expect(answers[1]).toContain("200 OK");
  expect(answers[1]).not.toContain("I am real");
});

test("a real Prometheus that is gone ends the port-forward", async () => {
  prometheus = await startHttpServer();
  const { port } = new URL(prometheus.origin);
  await prometheus.close();
  prometheus = undefined;
  simulator = await startSimulator({
    clusters: 1,
    realPrometheus: { host: "127.0.0.1", port: Number(port) },
  });
  const forward = await openForward(simulator.clusters[0]!);
  forward.send(GET);
  await forward.closed;
  expect(forward.data()).toBe("");
});

test("a simulator with a host name shows a certificate for it", async () => {
  simulator = await startSimulator({ clusters: 1, hostName: "localhost" });
  const cluster = simulator.clusters[0]!;
  expect(cluster.apiServerUrl).toMatch(/^https:\/\/localhost:\d+$/);
  expect(cluster.kubeconfig).toContain(cluster.apiServerUrl);
  expect((await callKube(cluster, "/version")).status).toBe(200);
});
