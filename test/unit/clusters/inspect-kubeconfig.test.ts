import { expect, it } from "vitest";
import { inspectKubeconfig } from "#clusters/inspect-kubeconfig.ts";

const user = { name: "u", user: { token: "t" } };
const context = (name: string) => ({ name, context: { cluster: "c", user: "u" } });
const fileOf = (server: string, contexts: unknown[]): string =>
  JSON.stringify({ clusters: [{ name: "c", cluster: { server } }], users: [user], contexts });

it("reads an entry once, however many contexts share it: a hostile file must not hold the event loop", () => {
  const names = Array.from({ length: 400 }, (_, index) => `context-${index}`);
  const checked: string[] = [];
  const { contexts } = inspectKubeconfig(fileOf("https://c.example.test", names.map(context)), {
    validateCerts: true,
    checkHost: (hostname) => void checked.push(hostname),
  });
  expect(contexts.filter(({ problem }) => problem === undefined)).toHaveLength(400);
  expect(checked).toEqual(["c.example.test"]);
});

it.each([
  ["https://user:secret@c.example.test/path?x=secret", "https://c.example.test:443"],
  ["http://c.example.test", "http://c.example.test:80"],
  ["file:///etc/passwd", null],
  ["no URL", null],
])("shows of the server %s no more than %s", (server, shown) => {
  const { contexts } = inspectKubeconfig(fileOf(server, [context("x")]), {
    validateCerts: true,
    checkHost: () => {},
  });
  expect(contexts).toMatchObject([{ server: shown, authentication: "token" }]);
  expect(contexts[0]?.problem).toBeDefined();
  expect(JSON.stringify([contexts, contexts[0]?.problem?.message])).not.toContain("secret");
});

it("does not take a defect of its own for a property of the file", () => {
  const settings = {
    validateCerts: true,
    checkHost: () => {
      throw new TypeError("a defect");
    },
  };
  expect(() => inspectKubeconfig(fileOf("https://c.example.test", [context("x")]), settings)).toThrow(
    "a defect",
  );
});
