import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { expectNoProblems, openPage, startBrowser, type Watched } from "./browser.ts";
import { startProgram, TOKENS, viaApiServers, writeTokens, type Program } from "./program.ts";

const folder = createTemporaryFolder();
let browser: Browser;
let program: Program;
/** Of sim-2, which no test finds registered. */
let kubeconfig: string;
beforeAll(async () => {
  browser = await startBrowser();
  program = await startProgram(join(folder, "onboard"), {
    simulator: {
      clusters: [
        { nodes: 2, pods: 8 },
        { nodes: 2, pods: 8 },
      ],
    },
    clusters: (simulated, config) => viaApiServers(simulated, config).slice(0, 1),
    environment: { API_TOKENS_FILE: writeTokens(folder) },
  });
  kubeconfig = program.simulator.cluster("sim-2").kubeconfig;
});
afterAll(async () => {
  await program?.stop();
  await browser?.close();
});

type Options = Parameters<typeof openPage>[2];

async function open(hash: string, options: Options = {}, token: string = TOKENS.admin): Promise<Watched> {
  const watched = await openPage(browser, `${program.url}/${hash}`, options);
  await watched.page.getByLabel("Token").fill(token);
  await watched.page.getByRole("button", { name: "Sign in" }).click();
  watched.page.setDefaultTimeout(12_000);
  await watched.page.getByText("Signed in as").waitFor();
  return watched;
}

async function paste({ page }: Watched, text: string): Promise<void> {
  await page.getByLabel("or its content").fill(text);
  await page.getByRole("button", { name: "Check", exact: true }).click();
}

async function api(method: string, path: string, body?: unknown): Promise<{ status: number; text: string }> {
  const answer = await fetch(program.url + path, {
    method,
    headers: { authorization: `Bearer ${TOKENS.admin}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, text: await answer.text() };
}

const main = ({ page }: Watched): Promise<string> => page.locator("main").innerText();

/** Requests that concern a cluster. */
const acting = ({ requests }: Watched): string[] =>
  requests.filter((request) => /^(POST|PATCH|DELETE) /.test(request));

/** Everything that the browser keeps or shows outside of the view. */
const keptBy = ({ page }: Watched): Promise<string> =>
  page.evaluate<string>(
    "JSON.stringify([location.href, document.title, Object.values(sessionStorage), Object.values(localStorage), document.cookie])",
  );

const SECRET = "hostile-token-0123456789";
const entry = (name: string, cluster: object, user: object) => ({
  clusters: [{ name, cluster: { server: "https://hostile.example.test", ...cluster } }],
  users: [{ name, user: { token: SECRET, ...user } }],
  contexts: [{ name, context: { cluster: name, user: name } }],
});

describe("a hostile kubeconfig", () => {
  it.each([
    [
      "a plugin",
      entry("<img src=x onerror=alert(1)>", {}, { exec: { command: "sh" } }),
      "users[0].user.exec is not allowed: it runs a program",
    ],
    [
      "a file",
      entry("x", {}, { tokenFile: "/etc/passwd" }),
      "users[0].user.tokenFile is not allowed: it reads a file",
    ],
    [
      "a proxy",
      entry("x", { "proxy-url": "http://169.254.169.254" }, {}),
      "it sends the connection over another host",
    ],
    ["another user", entry("x", {}, { as: "system:admin" }), "it impersonates another user"],
    [
      "the cloud's metadata service",
      entry("x", { server: "https://169.254.169.254" }, {}),
      "the kubeconfig's server is a link-local address",
    ],
    [
      "no certificate check",
      entry("x", { "insecure-skip-tls-verify": true }, {}),
      "insecure-skip-tls-verify is not allowed",
    ],
  ])("with %s is shown as refused with its reason, and nothing goes further", async (_name, file, reason) => {
    const watched = await open("#/onboard");
    await paste(watched, JSON.stringify(file));
    const { page } = watched;
    await page.getByText("1 context: 0 accepted, 1 refused").waitFor();
    const shown = await main(watched);
    expect(shown).toContain(reason);
    expect(shown).toContain(file.contexts[0]?.name);
    expect(shown).not.toContain(SECRET);
    expect(await page.getByRole("radio", { disabled: false }).count()).toBe(0);
    expect(await page.getByRole("button", { name: /Diagnose|Register|Find/ }).count()).toBe(0);
    expect(acting(watched)).toEqual(["POST /onboard/inspect"]);
    await expectNoProblems(watched);
  });

  it.each([
    ["a bomb of aliases", "a: &a [x,x]\nb: &b [*a,*a]\nclusters: [*b,*b]", /YAML (anchors|aliases)/],
    ["no kubeconfig", "hello", /must be a mapping/],
  ])("that is %s is refused", async (_name, text, reason) => {
    const watched = await open("#/onboard");
    await paste(watched, text);
    await watched.page.getByRole("alert").waitFor();
    expect(await watched.page.getByRole("alert").innerText()).toMatch(reason);
    expect(acting(watched)).toEqual(["POST /onboard/inspect"]);
    await expectNoProblems(watched);
  });

  it("of 5 MB is not even read", async () => {
    const path = join(folder, "large.yaml");
    writeFileSync(path, "x".repeat(5_000_000));
    const watched = await open("#/onboard");
    await watched.page.getByLabel("Kubeconfig file").setInputFiles(path);
    await watched.page.getByRole("alert").waitFor();
    expect(await watched.page.getByRole("alert").innerText()).toContain("large.yaml has 5.0 MB");
    expect(acting(watched)).toEqual([]);
    await expectNoProblems(watched);
  });
});

describe("a good kubeconfig", () => {
  it("is registered end to end, changed, disabled and deleted", async () => {
    const watched = await open("#/onboard");
    const { page } = watched;
    const { token } = program.simulator.cluster("sim-2");
    const path = join(folder, "good.yaml");
    writeFileSync(path, kubeconfig);
    await page.getByLabel("Kubeconfig file").setInputFiles(path);
    await page.getByText("1 context: 1 accepted, 0 refused").waitFor();
    expect(await page.getByRole("radio", { name: "sim-2" }).isChecked()).toBe(true);

    await page.getByRole("button", { name: "Find its Service" }).click();
    await page.getByText("may be a Prometheus").first().waitFor();
    expect(await main(watched)).toContain("only well-known names");
    await page.getByRole("radio", { name: "bud-system/" }).check();
    expect(await page.getByLabel("Port", { exact: true }).inputValue()).toBe("9090");

    await page.getByLabel("Name", { exact: true }).fill("Edge <b>Two</b>");
    await page.getByLabel("Platform").fill("k3s");
    await page.getByLabel("Id", { exact: true }).fill("edge-2");
    await page.getByLabel("Labels").fill("team=edge");
    await page.getByRole("button", { name: "Diagnose" }).click();
    await page.getByText("no step failed").waitFor();
    expect(await main(watched)).toContain("A port-forward opens");
    expect(await api("GET", "/clusters/edge-2")).toMatchObject({ status: 404 });
    await expectNoProblems(watched);

    await page.getByRole("button", { name: "Register" }).click();
    await page.getByText("is registered. The next").waitFor();
    expect(JSON.parse((await api("GET", "/clusters/edge-2")).text)).toMatchObject({
      name: "Edge <b>Two</b>",
      platform: "k3s",
      labels: { team: "edge" },
      prometheus: { namespace: "bud-system", port: 9090 },
    });
    // The kubeconfig is gone with it.
    expect(await page.content()).not.toContain(token);
    expect(await page.getByLabel("or its content").inputValue()).toBe("");
    expect(await keptBy(watched)).not.toContain(token);
    await expectNoProblems(watched);

    await page.getByRole("link", { name: "Fleet", exact: true }).click();
    await page.locator('tr[data-cluster="edge-2"]').waitFor();
    expect(await page.locator('tr[data-cluster="edge-2"]').innerText()).toContain("Edge <b>Two</b>");

    await page.goto(`${program.url}/#/clusters/edge-2/settings`);
    await page.getByRole("button", { name: "Collect now" }).click();
    await page.getByText(/^A round over \d/).waitFor();
    await page.getByLabel("Name", { exact: true }).fill("Edge 2");
    await page.getByLabel("Labels").fill("site=berlin");
    await page.getByLabel("Enabled").uncheck();
    const [request] = await Promise.all([
      page.waitForRequest((each) => each.method() === "PATCH"),
      page.getByRole("button", { name: "Save" }).click(),
    ]);
    // What was changed, and nothing else.
    expect(request.postDataJSON()).toEqual({
      name: "Edge 2",
      enabled: false,
      labels: { site: "berlin", team: null },
    });
    await page.getByText("Nothing is changed").waitFor();
    expect(JSON.parse((await api("GET", "/clusters/edge-2")).text)).toMatchObject({
      name: "Edge 2",
      enabled: false,
      labels: { site: "berlin" },
    });
    await expectNoProblems(watched);

    const remove = page.getByRole("button", { name: "Delete the cluster" });
    expect(await remove.isDisabled()).toBe(true);
    await page.getByLabel("Type edge-2 to delete it").fill("edge-1");
    expect(await remove.isDisabled()).toBe(true);
    await page.getByLabel("Type edge-2 to delete it").fill("edge-2");
    await remove.click();
    await page.getByRole("heading", { name: "Fleet" }).waitFor();
    expect(await api("GET", "/clusters/edge-2")).toMatchObject({ status: 404 });
    expect(page.url()).toBe(`${program.url}/#/`);
    expect(watched.requests.filter((each) => each.includes(token))).toEqual([]);
  });

  it("is registered with the keyboard alone", async () => {
    const watched = await open("#/onboard");
    const { page } = watched;
    const focused = (): Promise<string> =>
      page.evaluate<string>(
        "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()",
      );
    /** Presses Tab until what is focused begins so. */
    const tabTo = async (text: string): Promise<void> => {
      for (let presses = 0; presses < 60; presses++) {
        await page.keyboard.press("Tab");
        if ((await focused()).startsWith(text)) return;
      }
      throw new Error(`${text} is not reached by Tab`);
    };
    await page.getByLabel("or its content").waitFor();
    await tabTo("or its content");
    await page.keyboard.insertText(kubeconfig);
    await tabTo("Check");
    await page.keyboard.press("Enter");
    await page.getByText("1 accepted").waitFor();
    await tabTo("Find its Service");
    await page.keyboard.press("Enter");
    await page.getByText("may be a Prometheus").first().waitFor();
    await tabTo("bud-system/");
    await page.keyboard.press("Space");
    await tabTo("Platform");
    await page.keyboard.type("k3s");
    await tabTo("Id");
    await page.keyboard.type("by-keyboard");
    await tabTo("Register");
    await page.keyboard.press("Enter");
    await page.getByText("is registered. The next").waitFor();
    expect((await api("GET", "/clusters/by-keyboard")).status).toBe(200);
    expect((await api("DELETE", "/clusters/by-keyboard")).status).toBe(204);
    await expectNoProblems(watched);
  });

  it("is forgotten when the view is left", async () => {
    const watched = await open("#/onboard");
    const { page } = watched;
    await paste(watched, kubeconfig);
    await page.getByText("1 accepted").waitFor();
    await page.getByRole("link", { name: "Fleet", exact: true }).click();
    await page.locator("tr[data-cluster]").first().waitFor();
    await page.getByRole("link", { name: "Add a cluster" }).click();
    await page.getByLabel("or its content").waitFor();
    expect(await page.getByLabel("or its content").inputValue()).toBe("");
    expect(await main(watched)).not.toContain("accepted");
    expect(await keptBy(watched)).not.toContain(program.simulator.cluster("sim-2").token);
  });

  it("that is one of several contexts is sent with the chosen one, and a wrong Service is named with its remedy", async () => {
    const [context = ""] = /- name: sim-2\n {4}context:[^]*?user: \w+\n/.exec(kubeconfig) ?? [];
    expect(context).not.toBe("");
    const watched = await open("#/onboard");
    const { page } = watched;
    await paste(
      watched,
      kubeconfig.replace(context, context + context.replace("sim-2", "second").replace(/^/, "  ")),
    );
    await page.getByText("2 contexts: 2 accepted").waitFor();
    expect(await page.getByRole("button", { name: "Register" }).count()).toBe(0);
    await page.getByRole("radio", { name: "second" }).check();
    await page.getByLabel("Service", { exact: true }).fill("absent");
    await page.getByLabel("Platform").fill("k3s");
    const [request] = await Promise.all([
      page.waitForRequest((each) => each.url().endsWith("/clusters")),
      page.getByRole("button", { name: "Register" }).click(),
    ]);
    expect(request.postDataJSON()).toMatchObject({ context: "second", prometheus: { service: "absent" } });
    await page.getByRole("alert").waitFor();
    expect(await page.getByRole("alert").innerText()).toContain("there is no Service bud-system/absent");
    await expectNoProblems(watched);
  });
});

describe("who may not", () => {
  it("is told which scope is missing", async () => {
    const watched = await open("#/onboard", {}, TOKENS.read);
    await watched.page.getByText("Adding a cluster needs a token with the scope admin").waitFor();
    expect(await watched.page.getByLabel("or its content").count()).toBe(0);
    await expectNoProblems(watched);
    await watched.page.goto(`${program.url}/#/clusters/sim-1/settings`);
    await watched.page.getByText("Collecting needs a token with the scope collect").waitFor();
    expect(acting(watched)).toEqual([]);
  });

  it("can still copy the least rights", async () => {
    const watched = await open(
      "#/onboard",
      { permissions: ["clipboard-read", "clipboard-write"] },
      TOKENS.read,
    );
    const { page } = watched;
    await page.getByText("a ServiceAccount to copy").click();
    await page.getByLabel("Its name", { exact: true }).fill("reader");
    await page.getByText("name: reader").first().waitFor();
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByText("Copied").waitFor();
    const copied = await page.evaluate<string>("navigator.clipboard.readText()");
    expect(copied).toContain("kind: ServiceAccount");
    expect(copied).toBe((await api("GET", "/onboard/manifest?service_account=reader")).text);
    await expectNoProblems(watched);
  });

  it("changes no cluster of a file or of the command line", async () => {
    const watched = await open("#/clusters/sim-1/settings");
    await watched.page.getByText("This cluster is read-only here.").waitFor();
    expect(await watched.page.getByRole("button", { name: /Save|Delete/ }).count()).toBe(0);
    await expectNoProblems(watched);
  });
});

it.each([
  ["dark", { colorScheme: "dark" as const }],
  ["narrow", { viewport: { width: 380, height: 800 } }],
])("has no violation and no sideways scrolling when it is %s", async (name, options) => {
  const watched = await open("#/onboard", options);
  const { page } = watched;
  await paste(watched, kubeconfig);
  await page.getByRole("button", { name: "Find its Service" }).click();
  await page.getByText("may be a Prometheus").first().waitFor();
  expect(await page.evaluate("document.documentElement.scrollWidth - innerWidth")).toBeLessThanOrEqual(0);
  await expectNoProblems(watched);
  await page.screenshot({
    path: join(process.env["PAGE_LOOK"] || folder, `onboard-${name}.png`),
    fullPage: true,
  });
});
