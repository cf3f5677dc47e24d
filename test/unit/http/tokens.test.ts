import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BridgeError } from "#errors/error.ts";
import { parseTokens, readTokensFile } from "#http/tokens.ts";

const A = "a".repeat(64);
const B = "B".repeat(64);
const PLAIN = "plain-token-written-by-mistake";

let folder: string;
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), "tokens-"))));
afterAll(() => rm(folder, { recursive: true }));

async function load(text: string) {
  const path = join(folder, "tokens");
  await writeFile(path, text);
  return parseTokens(await readTokensFile(path));
}

describe("API_TOKENS_FILE", () => {
  it("is a list in YAML or JSON", async () => {
    const tokens = [
      { name: "grafana", sha256: A, scopes: ["read"] },
      { name: "ci.prod_1", sha256: B, scopes: ["read", "collect", "admin"] },
    ];
    const expected = [tokens[0], { ...tokens[1], sha256: B.toLowerCase() }];
    expect(await load(JSON.stringify(tokens))).toEqual(expected);
    expect(
      await load(`
- {name: grafana, sha256: ${A}, scopes: [read]}
- name: ci.prod_1   # a comment
  sha256: "${B}"
  scopes: [read, collect, admin]
`),
    ).toEqual(expected);
  });

  it("may limit a token that reads to some clusters", async () => {
    const tokens = [{ name: "team-a", sha256: A, scopes: ["read"], clusters: ["edge-1", "edge.2_x"] }];
    expect(await load(JSON.stringify(tokens))).toEqual(tokens);
  });

  it.each<[string, string, RegExp]>([
    [
      "limits a token that starts rounds",
      `- {name: a, sha256: ${A}, scopes: [read, collect], clusters: [x]}`,
      /entry 1 clusters: goes with `scopes: \[read\]` only/,
    ],
    [
      "limits an admin",
      `- {name: a, sha256: ${A}, scopes: [admin], clusters: [x]}`,
      /entry 1 clusters: goes with/,
    ],
    [
      "limits a token to no cluster",
      `- {name: a, sha256: ${A}, scopes: [read], clusters: []}`,
      /entry 1 clusters: must name at least one cluster/,
    ],
    [
      "names an impossible cluster",
      `- {name: a, sha256: ${A}, scopes: [read], clusters: ["*"]}`,
      /entry 1 clusters\.0: must be 1 to 64 characters/,
    ],
    ["is empty", "", /the file: .*array/],
    ["lists nothing", "[]", /at least one token/],
    ["is no list", `name: a`, /the file: .*array/],
    ["is broken", `- name: a\n  sha256: "${PLAIN}\n`, /neither YAML nor JSON \(line \d+/],
    ["has an alias", `- &a {name: a, sha256: ${A}, scopes: [read]}\n- *a`, /neither YAML nor JSON/],
    [
      "holds the token itself",
      `- {name: a, sha256: ${PLAIN}, scopes: [read]}`,
      /entry 1 sha256: must be the 64 hex/,
    ],
    [
      "has an unknown field",
      `- {name: a, token: ${PLAIN}, sha256: ${A}, scopes: [read]}`,
      /entry 1: .*"token"/,
    ],
    ["has a field twice", `- {name: a, name: b, sha256: ${A}, scopes: [read]}`, /neither YAML nor JSON/],
    ["misses the name", `- {sha256: ${A}, scopes: [read]}`, /entry 1 name/],
    ["has a strange name", `- {name: "a b", sha256: ${A}, scopes: [read]}`, /entry 1 name: must be 1 to 64/],
    ["misses the scopes", `- {name: a, sha256: ${A}}`, /entry 1 scopes/],
    ["has no scopes", `- {name: a, sha256: ${A}, scopes: []}`, /entry 1 scopes: must name at least one/],
    [
      "has an unknown scope",
      `- {name: a, sha256: ${A}, scopes: [read, root]}`,
      /entry 1 scopes\.1: .*"read"\|"collect"\|"admin"/,
    ],
    [
      "has a name twice",
      `- {name: a, sha256: ${A}, scopes: [read]}\n- {name: a, sha256: ${B}, scopes: [read]}`,
      /entry 2 name: is the same as that of entry 1/,
    ],
    [
      "has a hash twice",
      `- {name: a, sha256: ${B}, scopes: [read]}\n- {name: b, sha256: ${B.toLowerCase()}, scopes: [admin]}`,
      /entry 2 sha256: is the same/,
    ],
    ["is too large", `# ${"x".repeat(1024 * 1024)}`, /larger than 1048576 bytes/],
    ["is wrong in two places", `- {name: a, sha256: x, scopes: [y]}`, /sha256: .*; entry 1 scopes\.0/],
  ])("that %s is refused by name, without repeating it", async (_name, text, message) => {
    const error = await load(text).then(
      () => undefined,
      (thrown: BridgeError) => thrown,
    );
    expect(error).toMatchObject({ code: "tokens_file_invalid", message: expect.stringMatching(message) });
    expect(error?.hint).toContain("sha256sum");
    expect(`${error?.message} ${error?.hint}`).not.toContain(PLAIN);
  });

  it("that can't be read says why", async () => {
    await expect(readTokensFile(join(folder, "absent"))).rejects.toMatchObject({
      code: "tokens_file_invalid",
      message: "API_TOKENS_FILE can't be read: ENOENT",
    });
    await expect(readTokensFile(folder)).rejects.toMatchObject({
      message: expect.stringContaining("EISDIR"),
    });
  });
});
