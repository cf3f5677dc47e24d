import { signal } from "@preact/signals";
import { settings } from "./settings.ts";

const KEY = "budcluster.token";

/** The API token: in this tab only, until it is closed. It is sent in a header, and never is a part of a URL. */
export const token = signal<string | null>(settings.needsToken ? sessionStorage.getItem(KEY) : null);

/** Why the sign-in is asked for again; null: nothing went wrong. */
export const signInProblem = signal<string | null>(null);

export function signIn(text: string): void {
  sessionStorage.setItem(KEY, text);
  signInProblem.value = null;
  token.value = text;
}

export function signOut(problem: string | null = null): void {
  sessionStorage.removeItem(KEY);
  signInProblem.value = problem;
  token.value = null;
}
