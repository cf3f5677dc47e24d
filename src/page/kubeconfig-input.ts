import { useState } from "preact/hooks";
import { html, type Html } from "./ui.ts";

/** Far more than the program takes: it says itself what is too much, but a film must not get into the page's memory. */
const FILE_BYTES_MAX = 1 << 20;

/** A kubeconfig to paste, to choose as a file, or to drop. It is given to `take`, and kept by nobody else. */
export function KubeconfigInput({ take }: { take: (text: string, source: string) => void }): Html {
  const [problem, setProblem] = useState("");
  const [over, setOver] = useState(false);
  const [text, setText] = useState("");
  const read = (file: File | undefined): void => {
    if (!file) return;
    if (file.size > FILE_BYTES_MAX) {
      setProblem(
        `${file.name} has ${(file.size / 1e6).toFixed(1)} MB, and a kubeconfig at most 256 KiB: choose another file.`,
      );
      return;
    }
    setProblem("");
    file.text().then(
      (content) => take(content, file.name),
      () => setProblem(`${file.name} can't be read. Choose it again, or paste its content.`),
    );
  };
  const onDrop = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    read(event.dataTransfer?.files[0]);
  };
  const onSubmit = (event: Event): void => {
    event.preventDefault();
    if (text.trim() !== "") take(text, "what was pasted");
  };
  return html`<form
    class=${over ? "drop over" : "drop"}
    autocomplete="off"
    onSubmit=${onSubmit}
    onDragOver=${(event: Event) => {
      event.preventDefault();
      setOver(true);
    }}
    onDragLeave=${() => setOver(false)}
    onDrop=${onDrop}
  >
    <label
      >Kubeconfig file, also dropped here
      <input
        type="file"
        onChange=${(event: Event) => {
          const input = event.target as HTMLInputElement;
          read(input.files?.[0]);
          input.value = "";
        }}
    /></label>
    <label
      >or its content
      <textarea
        rows="6"
        autocomplete="off"
        spellcheck=${false}
        value=${text}
        onInput=${(event: Event) => setText((event.target as HTMLTextAreaElement).value)}
      ></textarea>
    </label>
    <button type="submit">Check</button>
    ${problem === "" ? "" : html`<p class="problem" role="alert"><strong>${problem}</strong></p>`}
  </form>`;
}
