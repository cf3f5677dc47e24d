import { signal } from "@preact/signals";

const KEY = "budcluster.theme";
const THEMES = ["system", "light", "dark"] as const;

type Theme = (typeof THEMES)[number];

function stored(): Theme {
  const value = localStorage.getItem(KEY);
  return THEMES.find((theme) => theme === value) ?? "system";
}

export const theme = signal<Theme>(stored());

export function applyTheme(): void {
  document.documentElement.dataset["theme"] = theme.value;
}

/** system, light, dark, and again. */
export function nextTheme(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.peek()) + 1) % THEMES.length] ?? "system";
  localStorage.setItem(KEY, theme.peek());
  applyTheme();
}
