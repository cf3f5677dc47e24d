import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { get } from "./api.ts";
import type { Whoami } from "./api-types.ts";
import { plural } from "./format.ts";
import { useLoaded } from "./loaded.ts";
import { signOut, token } from "./session.ts";
import { settings } from "./settings.ts";
import { html, type Html } from "./ui.ts";

const AGAIN_MS = 300_000;

type Scope = Whoami["scopes"][number];

/** Who the reader is to the program; null: not known yet. */
const who = signal<Whoami | null>(null);

/** May the reader do what needs this scope? Yes until it is known: the API decides anyway. */
export function may(scope: Scope): boolean {
  return who.value?.scopes.includes(scope) ?? true;
}

/** Shows what needs a scope, or else says so. `what`: the thing that needs it. */
export function Needs({
  scope,
  what,
  children,
}: {
  scope: Scope;
  what: string;
  children: ComponentChildren;
}): Html {
  if (may(scope)) return html`<div>${children}</div>`;
  return html`<p class="quiet">
    ${what} needs a token with the scope ${scope}. Yours (${who.value?.name}) has:
    ${` ${who.value?.scopes.join(", ")}.`}
  </p>`;
}

/** In place of a view that needs the scope read. */
export function NoView(): Html {
  return html`<section aria-labelledby="title">
    <h1 id="title">Signed in as ${who.value?.name}</h1>
    <p class="problem" role="alert">
      <strong>This token lacks the scope read. It has: ${who.value?.scopes.join(", ")}.</strong>
      ${" Every view needs it. Sign out, and sign in with a token that has it."}
    </p>
  </section>`;
}

/** Asks who the reader is, says it, and signs out. */
export function SignedIn(): Html {
  const key = settings.needsToken ? token.value : "nobody needs a token";
  const loaded = useLoaded(key, (signal) => get<Whoami>("/whoami", signal), AGAIN_MS);
  useEffect(() => {
    who.value = loaded.value;
  }, [loaded.value]);
  const known = loaded.value;
  if (key === null) return html`<span></span>`;
  return html`<span class="who"
    >${known ? html`<span class="quiet">${textOf(known)}</span>` : ""}
    ${settings.needsToken ? html`<button type="button" class="plain" onClick=${() => signOut()}>Sign out</button>` : ""}</span
  >`;
}

function textOf({ name, access, scopes, clusters }: Whoami): Html {
  if (access === "loopback") return html`<span>No token is needed on this machine</span>`;
  if (access === "off") return html`<span>No token is needed (AUTH_ENABLED=false)</span>`;
  const may = scopes.includes("admin") ? "admin" : scopes.join(", ");
  const of = clusters === null ? "" : `, ${plural(clusters.length, "cluster")}`;
  return html`<span title=${clusters?.join(", ")}>Signed in as <strong>${name}</strong> (${may}${of})</span>`;
}
