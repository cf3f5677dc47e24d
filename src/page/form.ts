import type { ComponentChildren } from "preact";
import { html, type Html } from "./ui.ts";

/** An input of a form under its name. Nothing of it is completed or kept by the browser. */
export function Field({
  name,
  value,
  set,
  hint,
  ...more
}: {
  name: string;
  value: string;
  set: (value: string) => void;
  hint?: string;
  [attribute: string]: unknown;
}): Html {
  return html`<label
    >${name}
    <input
      value=${value}
      onInput=${(event: Event) => set((event.target as HTMLInputElement).value)}
      placeholder=${hint}
      autocomplete="off"
      spellcheck=${false}
      ...${more}
  /></label>`;
}

export function Check({
  checked,
  set,
  children,
}: {
  checked: boolean;
  set: (checked: boolean) => void;
  children: ComponentChildren;
}): Html {
  return html`<label class="check"
    ><input
      type="checkbox"
      checked=${checked}
      onChange=${(event: Event) => set((event.target as HTMLInputElement).checked)}
    />
    ${children}</label
  >`;
}

/** A form that the page itself sends. */
export function Form({ send, children }: { send: () => void; children: ComponentChildren }): Html {
  const onSubmit = (event: Event): void => {
    event.preventDefault();
    send();
  };
  return html`<form class="form" autocomplete="off" onSubmit=${onSubmit}>${children}</form>`;
}

/** `team=edge, site=berlin` as labels; a part without `=` is a label with an empty value. */
export function toLabels(text: string): Record<string, string> {
  const parts = text.split(",").map((part) => part.trim());
  return Object.fromEntries(
    parts
      .filter((part) => part !== "")
      .map((part) => {
        const [name = "", ...value] = part.split("=");
        return [name.trim(), value.join("=").trim()];
      }),
  );
}

export function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(", ");
}
