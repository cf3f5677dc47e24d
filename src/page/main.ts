import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { startClock } from "./clock.ts";
import { Cluster, partOf } from "./cluster.ts";
import { Explore } from "./explore.ts";
import { Fleet } from "./fleet.ts";
import { FleetGpus } from "./gpus.ts";
import { Onboard } from "./onboard.ts";
import { hrefOf, route, startRouter } from "./route.ts";
import { token } from "./session.ts";
import { settings } from "./settings.ts";
import { SignIn } from "./sign-in.ts";
import { applyTheme, nextTheme, theme } from "./theme.ts";
import { html, type Html } from "./ui.ts";
import { may, NoView, SignedIn } from "./who.ts";

const VIEWS: { name: string; path: readonly string[] }[] = [
  { name: "Fleet", path: [] },
  ...(settings.parts.queries
    ? [
        { name: "GPUs", path: ["gpus"] },
        { name: "Explore", path: ["explore"] },
      ]
    : []),
  ...(settings.parts.changes ? [{ name: "Add a cluster", path: ["onboard"] }] : []),
];

function Header(): Html {
  const [place = ""] = route.value.path;
  const isHere = (path: readonly string[]): boolean =>
    (path[0] ?? "") === (place === "clusters" ? "" : place);
  return html`<header>
    <a class="skip" href="#main" onClick=${focusMain}>Skip to the content</a>
    <span class="name">budcluster</span>
    <nav aria-label="Views">
      ${VIEWS.map(({ name, path }) => html`<a href=${hrefOf(path)} aria-current=${isHere(path) ? "page" : undefined}>${name}</a>`)}
      ${settings.bridgeUrl === null ? "" : html`<a href=${settings.bridgeUrl}>Bridge</a><a href=${`${settings.bridgeUrl}#/onboard`}>Add a cluster</a>`}
      <a href="/docs">API</a>
    </nav>
    <button type="button" class="plain" onClick=${nextTheme}>Theme: ${theme.value}</button>
    <${SignedIn} />
  </header>`;
}

function focusMain(event: Event): void {
  event.preventDefault();
  document.querySelector<HTMLElement>("main")?.focus();
}

function View(): Html {
  const [place, id, tab = ""] = route.value.path;
  if (settings.needsToken && token.value === null) return html`<${SignIn} />`;
  if (!may("read")) return html`<${NoView} />`;
  if (place === "explore" && settings.parts.queries) return html`<${Explore} />`;
  if (place === "gpus" && settings.parts.queries) return html`<${FleetGpus} />`;
  if (place === "clusters" && id !== undefined) return html`<${Cluster} key=${id} id=${id} tab=${tab} />`;
  if (place === "onboard" && settings.parts.changes) return html`<${Onboard} />`;
  if (place === undefined) return html`<${Fleet} />`;
  return html`<section>
    <h1>Not found</h1>
    <p>The page has no view of this name. <a href=${hrefOf([])}>Back to the fleet</a></p>
  </section>`;
}

/** The name of what is shown, for the browser's tab and its history. */
function titleOf(): string {
  const [place = "fleet", id, tab = ""] = route.value.path;
  if (settings.needsToken && token.value === null) return "Sign in";
  if (place === "clusters") return `${id}: ${partOf(tab).name}`;
  return VIEWS.find(({ path }) => (path[0] ?? "fleet") === place)?.name ?? "Not found";
}

/** Says the name of each new view, and moves the focus to its heading, so that the keyboard goes on from there. */
function useTitle(): string {
  const title = titleOf();
  const before = useRef(title);
  useEffect(() => {
    document.title = `${title} - budcluster`;
    if (before.current === title) return;
    before.current = title;
    scrollTo(0, 0);
    const heading = document.querySelector<HTMLElement>("main h1");
    heading?.setAttribute("tabindex", "-1");
    heading?.focus();
  }, [title]);
  return title;
}

function Page(): Html {
  const title = useTitle();
  return html`<${Header} />
    <p class="hidden" role="status">${title}</p>
    <main id="main" tabindex="-1"><${View} /></main>
    <footer class="quiet">budcluster ${settings.version}, ${settings.role}</footer>`;
}

applyTheme();
startClock();
startRouter();
const root = document.querySelector("#page");
if (root) {
  root.replaceChildren();
  render(html`<${Page} />`, root);
}
