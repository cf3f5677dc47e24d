import { useState } from "preact/hooks";
import { getText } from "./api.ts";
import { Field } from "./form.ts";
import { useLoaded } from "./loaded.ts";
import { html, LoadState, type Html } from "./ui.ts";

/** A ServiceAccount with the least rights, to copy. */
export function Manifest({ prometheusNamespace }: { prometheusNamespace: string }): Html {
  const [isOpen, setOpen] = useState(false);
  const [namespace, setNamespace] = useState("");
  const [account, setAccount] = useState("");
  const given = { prometheus_namespace: prometheusNamespace, namespace, service_account: account };
  const kept = Object.entries(given).filter(([, value]) => value !== "");
  const path = `/onboard/manifest?${new URLSearchParams(kept).toString()}`;
  const loaded = useLoaded(isOpen ? path : null, (signal) => getText(path, signal), 0);
  return html`<details onToggle=${(event: Event) => setOpen((event.target as HTMLDetailsElement).open)}>
    <summary>The least rights: a ServiceAccount to copy</summary>
    <p class="quiet">
      Apply it in the cluster with <code>kubectl apply -f</code>, and give the program a kubeconfig with the
      ServiceAccount's token (<code>kubectl create token</code>). <code>npm run kubeconfig</code> does both.
    </p>
    <div class="form">
      <${Field} name="Its namespace" value=${namespace} set=${setNamespace} hint="Prometheus'" />
      <${Field} name="Its name" value=${account} set=${setAccount} hint="budcluster-metrics-reader" />
    </div>
    <${LoadState} loaded=${loaded} what="the manifest" />
    ${
      loaded.value === null
        ? ""
        : html`<${Copy} text=${loaded.value} />
            <pre tabindex="0"><code>${loaded.value}</code></pre>`
    }
  </details>`;
}

function Copy({ text }: { text: string }): Html {
  const [copied, setCopied] = useState("");
  const copy = (): void => void navigator.clipboard.writeText(text).then(() => setCopied(text));
  return html`<button type="button" onClick=${copy}>Copy</button>
    <span class="quiet" role="status">${copied === text ? " Copied" : ""}</span>`;
}
