import type { Inspection, InspectedContext } from "./change-types.ts";
import { now } from "./clock.ts";
import { clockTime, plural, UNMEASURED } from "./format.ts";
import { Badge, html, Table, type Html } from "./ui.ts";

/** What the program says of each context of a kubeconfig; an accepted one can be chosen. */
export function Contexts({
  inspection,
  chosen,
  choose,
}: {
  inspection: Inspection;
  chosen: string | null;
  choose: (context: string) => void;
}): Html {
  const { contexts, problem } = inspection;
  const accepted = contexts.filter((each) => each.accepted).length;
  const shared = problem !== null;
  return html`<div>
    <p role="status">
      <strong
        >${`${plural(contexts.length, "context")}: ${accepted} accepted, ${contexts.length - accepted} refused.`}</strong
      >
      ${" Nothing was sent to a cluster."}
    </p>
    ${shared ? html`<${Refusal} problem=${problem} />` : ""}
    ${
      contexts.length === 0
        ? ""
        : html`<${Table}
            caption="Contexts of the kubeconfig"
            rows=${contexts.map((context, index) => ({ ...context, index }))}
            keyOf=${({ index }: { index: number }) => String(index)}
            columns=${[
              {
                head: "Context",
                cell: (each: InspectedContext) =>
                  html`<${Choice}
                    context=${each}
                    checked=${each.accepted && each.context === chosen}
                    choose=${choose}
                  />`,
              },
              { head: "API server", cell: ({ server }: InspectedContext) => server ?? UNMEASURED },
              { head: "Authentication", cell: (each: InspectedContext) => each.authentication ?? "none" },
              { head: "Namespace", cell: ({ namespace }: InspectedContext) => namespace ?? UNMEASURED },
              { head: "Expires", cell: (each: InspectedContext) => expiryOf(each) },
              {
                head: "Judgement",
                cell: (each: InspectedContext) => html`<${Judgement} context=${each} isShared=${shared} />`,
              },
            ]}
          />`
    }
    ${
      accepted < contexts.length || shared
        ? html`<p class="quiet">
            One refused entry of a file refuses all of it. A file of one context, with its certificates
            inside:
            <code> kubectl config view --raw --minify --flatten --context NAME</code>. In place of a plugin or
            a login use a ServiceAccount's token: see the least rights below.
          </p>`
        : ""
    }
  </div>`;
}

function Choice({
  context: { context, accepted },
  checked,
  choose,
}: {
  context: InspectedContext;
  checked: boolean;
  choose: (context: string) => void;
}): Html {
  return html`<label class="check"
    ><input
      type="radio"
      name="context"
      disabled=${!accepted}
      checked=${checked}
      onChange=${() => choose(context)}
    /><bdi>${context}</bdi></label
  >`;
}

function expiryOf({
  certificate_expires_at: certificate,
  token_expires_at: token,
}: InspectedContext): string {
  const end = [certificate, token].filter((each) => each !== null).toSorted()[0];
  return end === undefined ? UNMEASURED : clockTime(end, now.peek());
}

function Judgement({ context, isShared }: { context: InspectedContext; isShared: boolean }): Html {
  const { accepted, problem, warnings } = context;
  if (accepted) {
    return html`<span
      ><${Badge} tone=${warnings.length > 0 ? "warn" : "good"}>accepted<//
      >${warnings.map((text) => html`<span class="reason">${text}</span>`)}</span
    >`;
  }
  return html`<span
    ><${Badge} tone="bad">refused<//>
    ${isShared || !problem ? "" : html`<span class="reason">${problem.message}</span><span class="remedy">${problem.hint}</span>`}</span
  >`;
}

function Refusal({ problem }: { problem: NonNullable<Inspection["problem"]> }): Html {
  return html`<div class="problem" role="alert">
    <p><strong>The kubeconfig is refused: ${problem.message}</strong> <code>${problem.code}</code></p>
    <p>${problem.hint}</p>
  </div>`;
}
