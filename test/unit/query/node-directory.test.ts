import { expect, test } from "vitest";
import { toNodeAddresses } from "#query/node-addresses.ts";
import { createNodeDirectory } from "#query/state/node-directory.ts";

const LISTED = [
  { node: "a", internal_ip: "10.0.0.1" },
  { node: "b", internal_ip: "fd00::1" },
  { node: "c", internal_ip: "10.0.0.3" },
];
const addresses = toNodeAddresses([{ address: "10.9.0.9", node: "c", since_ms: "0", until_ms: "2000" }]);
const id = (more: { node?: string; k8s_node?: string; instance?: string }) => ({
  node: "",
  k8s_node: "",
  instance: "",
  newestMs: 1000,
  ...more,
});

test("a node is found by its label, k8s.node.name, the lists of nodes, uname or kube-state-metrics' address", () => {
  const measured = [id({ instance: "10.0.0.1:9100" })];
  const hosts = [{ instance: "c.example:9100", nodename: "c" }];
  const nodeOf = createNodeDirectory({ addresses, listed: LISTED, hosts, measured });
  expect(nodeOf(id({ node: "a", k8s_node: "b", instance: "10.0.0.3:9100" }))).toBe("a");
  expect(nodeOf(id({ k8s_node: "b", instance: "10.0.0.3:9100" }))).toBe("b");
  expect(nodeOf(id({ k8s_node: "b", instance: "10.9.0.9:9100" }))).toBe("b");
  expect(nodeOf(id({ instance: "10.9.0.9:9100" }))).toBe("c");
  expect(nodeOf(id({ instance: "10.0.0.1:9100" }))).toBe("a");
  expect(nodeOf(id({ instance: "[fd00::1]:9100" }))).toBe("b");
  expect(nodeOf(id({ instance: "c.example:9100" }))).toBe("c");
});

test("a machine that Kubernetes does not list is none of the cluster", () => {
  const stranger = id({ instance: "backup.example:9100" });
  const measured = [stranger, id({ k8s_node: "a" })];
  expect(createNodeDirectory({ addresses, listed: LISTED, hosts: [], measured })(stranger)).toBeUndefined();
});

test("where none of the measured machines is listed, all of them count by their instance", () => {
  const stranger = id({ instance: "host-1:9100" });
  const nodeOf = createNodeDirectory({ addresses, listed: LISTED, hosts: [], measured: [stranger] });
  expect(nodeOf(stranger)).toBe("host-1:9100");
  expect(createNodeDirectory({ addresses, listed: [], hosts: [], measured: [stranger] })(stranger)).toBe(
    "host-1:9100",
  );
  expect(nodeOf(id({}))).toBeUndefined();
});
