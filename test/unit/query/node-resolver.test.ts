import { describe, expect, test } from "vitest";
import { createNodeNames, toNodeQuestion, type NodeEvidence } from "#query/node-resolver.ts";
import { toNodeAddresses } from "#query/node-addresses.ts";

const NOTHING = { listed: [], hosts: [], pods: new Map(), ips: new Map() };
const evidence = (more: Partial<NodeEvidence> = {}): NodeEvidence => ({
  addresses: toNodeAddresses([{ address: "10.9.0.9", node: "c", since_ms: "0", until_ms: "2000" }]),
  listed: [
    { node: "a", internal_ip: "10.0.0.1" },
    { node: "b.eu.example", internal_ip: "fd00::1" },
    { node: "c", internal_ip: "10.0.0.3" },
  ],
  hosts: [],
  ...more,
});
const place = (namespace: string, node: string, sinceMs = 0, untilMs = 5000) => ({
  namespace,
  node,
  sinceMs,
  untilMs,
});
const ask = (labels: Record<string, string>, known = evidence(), places: typeof NOTHING = NOTHING) =>
  createNodeNames(known, places)(toNodeQuestion(labels, 1000));

describe("a node is found by", () => {
  test.each([
    ["the label node", { node: "a", "k8s.node.name": "c", instance: "10.0.0.3:9100" }, "a"],
    ["k8s.node.name", { "k8s.node.name": "a", instance: "10.0.0.3:9100" }, "a"],
    ["the label that Prometheus renamed", { exported_node: "a", node: "c" }, "a"],
    ["an address in its label", { node: "10.0.0.3" }, "c"],
    // EKS, GKE and kubeadm with --hostname-override: a node is listed with its domain, and the host calls itself without, or the other way round.
    ["its name without the domain", { node: "b" }, "b.eu.example"],
    ["its name with a domain", { node: "a.eu.example" }, "a"],
    // Windows and some BMCs report host names in upper case; Kubernetes' names are lower case (RFC 1123).
    ["its name in upper case", { node: "B.EU.example" }, "b.eu.example"],
    ["the collection's list of addresses", { instance: "10.9.0.9:9100" }, "c"],
    ["kube_node_info.internal_ip", { instance: "10.0.0.1:9100" }, "a"],
    ["an IPv6 address", { instance: "[fd00::1]:9100" }, "b.eu.example"],
    ["a host name with a port", { instance: "c:9100" }, "c"],
    // prometheus/prometheus: federation without honor_labels renames the exporter's instance.
    [
      "the instance behind a federating Prometheus",
      { exported_instance: "10.0.0.1:9100", instance: "prom:9090" },
      "a",
    ],
  ])("%s", (_, labels, node) => {
    expect(ask(labels)).toEqual({ node, known: true });
  });

  test("uname's node name for the same instance", () => {
    const known = evidence({ hosts: [{ instance: "metal-7:9100", nodename: "b" }] });
    expect(ask({ instance: "metal-7:9100" }, known)).toEqual({ node: "b.eu.example", known: true });
  });
});

describe("the Pod of the exporter", () => {
  const places = {
    listed: [],
    hosts: [],
    pods: new Map([["ne-1", [place("mon", "a"), place("other", "c")]]]),
    ips: new Map([["10.244.0.5", [place("mon", "a", 0, 900), place("app", "c", 901, 5000)]]]),
  };

  test("is named by the target's labels (home-operations#13490: node_exporter without hostNetwork)", () => {
    expect(ask({ instance: "10.244.9.9:9100", namespace: "mon", pod: "ne-1" }, evidence(), places)).toEqual({
      node: "a",
      known: true,
    });
  });

  test("is what Hostname names (dcgm-exporter#129, without NODE_NAME)", () => {
    const names = createNodeNames(evidence(), places);
    const question = {
      names: ["ne-1"],
      instance: "",
      pods: [{ namespace: "other", pod: "x" }],
      newestMs: 1000,
    };
    expect(names(question)).toEqual({ node: "c", known: true });
  });

  test("had the address of the target at the time of the sample", () => {
    expect(ask({ instance: "10.244.0.5:9100" }, evidence(), places)).toEqual({ node: "c", known: true });
  });

  test("counts after the target's own address", () => {
    expect(ask({ instance: "10.0.0.3:9100", namespace: "mon", pod: "ne-1" }, evidence(), places).node).toBe(
      "c",
    );
  });
});

describe("no node of Kubernetes", () => {
  test("is called what its series call it", () => {
    expect(ask({ node: "backup", instance: "10.5.5.5:9100" })).toEqual({ node: "backup", known: false });
    expect(ask({ instance: "backup.example:9100" })).toEqual({ node: "backup.example:9100", known: false });
    expect(ask({})).toEqual({ node: "", known: false });
  });

  test("a name without its domain that two nodes share is neither", () => {
    const known = evidence({
      listed: [
        { node: "n.eu.example", internal_ip: "" },
        { node: "n.us.example", internal_ip: "" },
      ],
    });
    expect(ask({ node: "n" }, known)).toEqual({ node: "n", known: false });
    expect(ask({ node: "n.asia.example" }, known).known).toBe(false);
  });

  test("an address never loses its last parts", () => {
    const known = evidence({ listed: [{ node: "10.0.0.1", internal_ip: "" }] });
    expect(ask({ node: "10" }, known).known).toBe(false);
  });
});
