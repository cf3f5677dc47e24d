import { useState } from "preact/hooks";
import { signIn, signInProblem } from "./session.ts";
import { html, type Html } from "./ui.ts";

/** Asks for an API token. Whether it is known shows the first request. */
export function SignIn(): Html {
  const [text, setText] = useState("");
  const onSubmit = (event: Event): void => {
    event.preventDefault();
    if (text.trim() !== "") signIn(text.trim());
  };
  const problem = signInProblem.value;
  return html`<section class="sign-in" aria-labelledby="title">
    <h1 id="title">Sign in</h1>
    <p>
      This program needs a token of its API (<code>API_TOKENS_FILE</code>).
      ${" The scope read sees, admin may also change things; a token for some clusters sees these."}
    </p>
    ${problem === null ? "" : html`<p class="problem" role="alert"><strong>${problem}</strong> Check the token, or ask who runs this program for one.</p>`}
    <form onSubmit=${onSubmit}>
      <label
        >Token
        <input
          type="password"
          autocomplete="off"
          spellcheck=${false}
          required
          value=${text}
          onInput=${(event: Event) => setText((event.target as HTMLInputElement).value)}
      /></label>
      <button type="submit">Sign in</button>
    </form>
    <p class="quiet">
      The token stays in this tab until it is closed. It is sent to this program only, in a header.
    </p>
  </section>`;
}
