import { useState } from "preact/hooks";
import { useAction } from "./act.ts";
import { act, get } from "./api.ts";
import type { CollectAnswer, RegisteredCluster } from "./change-types.ts";
import { Check, Field, Form, labelsText, toLabels } from "./form.ts";
import { plural } from "./format.ts";
import { useLoaded } from "./loaded.ts";
import { hrefOf } from "./route.ts";
import { html, LoadState, Problem, type Html } from "./ui.ts";
import { Needs } from "./who.ts";

const SOURCES = {
  file: "It is defined in CLUSTERS_FILE: change it there, and restart the program.",
  "command-line": "It was named on the command line (--kubeconfig): change it there.",
} as const;

/** What can be done with a cluster: collect, change, delete. */
export function ClusterSettings({ id }: { id: string }): Html {
  const path = `/clusters/${encodeURIComponent(id)}`;
  const [version, setVersion] = useState(0);
  const loaded = useLoaded(`${path} ${version}`, (signal) => get<RegisteredCluster>(path, signal), 0);
  const cluster = loaded.value;
  return html`<div>
    <${CollectNow} />
    <${LoadState} loaded=${loaded} what="the cluster" />
    ${cluster ? html`<${Change} key=${`${id} ${version}`} cluster=${cluster} path=${path} onChanged=${() => setVersion(version + 1)} />` : ""}
  </div>`;
}

function CollectNow(): Html {
  const round = useAction<CollectAnswer>();
  const collect = (): void => void round.run((signal) => act("POST", "/metrics/collect-all", signal));
  return html`<section aria-labelledby="collect">
    <h2 id="collect">Collect now</h2>
    <${Needs} scope="collect" what="Collecting"
      ><p>
        <button type="button" onClick=${collect} disabled=${round.loading}>Collect now</button>
        <span class="quiet"> Starts a round over all clusters that are not being collected.</span>
      </p>
      <div role="status">
        ${round.error ? html`<${Problem} error=${round.error} what="the round" />` : ""}
        ${round.value ? html`<p>${roundText(round.value)}</p>` : ""}
      </div>
    <//>
  </section>`;
}

function roundText(answer: CollectAnswer): string {
  if (answer.status === "disabled") return `${answer.message}: ${answer.hint}`;
  const busy = answer.busy.length === 0 ? "" : `; ${plural(answer.busy.length, "cluster")} was busy`;
  return `A round over ${plural(answer.round.total, "cluster")} has begun${busy}.`;
}

interface ChangeProps {
  cluster: RegisteredCluster;
  path: string;
  onChanged: () => void;
}

function Change({ cluster, path, onChanged }: ChangeProps): Html {
  const { source } = cluster;
  if (source !== "api") {
    return html`<p class="problem"><strong>This cluster is read-only here.</strong> ${SOURCES[source]}</p>`;
  }
  return html`<${Needs} scope="admin" what="Changing or deleting a cluster"
    ><${Edit} cluster=${cluster} path=${path} onChanged=${onChanged} /><${Delete}
      id=${cluster.id}
      path=${path}
  /><//>`;
}

/** What a form has of a cluster, as texts. */
function toForm({ name, platform, enabled, validate_certs, labels, prometheus }: RegisteredCluster) {
  return {
    name,
    platform,
    enabled,
    validate_certs,
    labels: labelsText(labels),
    namespace: prometheus.namespace ?? "",
    service: prometheus.service ?? "",
    port: prometheus.port === null ? "" : String(prometheus.port),
    kubeconfig: "",
    context: "",
  };
}
type FormValues = ReturnType<typeof toForm>;

/** A JSON merge patch of what was changed, and of nothing else. */
function toPatch(cluster: RegisteredCluster, form: FormValues): Record<string, unknown> {
  const before = toForm(cluster);
  const changed = <Key extends keyof FormValues>(...keys: Key[]): Key[] =>
    keys.filter((key) => form[key] !== before[key]);
  const labels = toLabels(form.labels);
  const gone = Object.keys(cluster.labels).filter((name) => !(name in labels));
  const prometheus = changed("namespace", "service", "port").map((key) => {
    const text = form[key];
    return [key, text === "" ? null : key === "port" && /^\d+$/.test(text) ? Number(text) : text];
  });
  return {
    ...Object.fromEntries(
      changed("name", "platform", "enabled", "validate_certs", "kubeconfig", "context").map((key) => [
        key,
        form[key],
      ]),
    ),
    ...(form.labels === before.labels
      ? {}
      : { labels: { ...labels, ...Object.fromEntries(gone.map((name) => [name, null])) } }),
    ...(prometheus.length === 0 ? {} : { prometheus: Object.fromEntries(prometheus) }),
  };
}

function Edit({ cluster, path, onChanged }: ChangeProps): Html {
  const [form, setForm] = useState(() => toForm(cluster));
  const saving = useAction<RegisteredCluster>();
  const patch = toPatch(cluster, form);
  const isSame = Object.keys(patch).length === 0;
  const set =
    <Key extends keyof FormValues>(key: Key) =>
    (value: FormValues[Key]): void =>
      setForm((before) => ({ ...before, [key]: value }));
  const save = async (): Promise<void> => {
    if (await saving.run((signal) => act("PATCH", path, signal, patch))) onChanged();
  };
  const field = (key: Exclude<keyof FormValues, "enabled" | "validate_certs">) => ({
    value: form[key],
    set: set(key),
  });
  const isDirect = cluster.prometheus.url !== null;
  return html`<section aria-labelledby="change">
    <h2 id="change">Change</h2>
    <${Form} send=${() => void save()}>
      <${Field} name="Name" required ...${field("name")} />
      <${Field} name="Platform" required ...${field("platform")} />
      <${Field} name="Labels" hint="team=edge, site=berlin" ...${field("labels")} />
      ${
        isDirect
          ? ""
          : html`<${Field} name="Prometheus' namespace" ...${field("namespace")} />
              <${Field} name="Prometheus' Service" ...${field("service")} />
              <${Field} name="Prometheus' port" inputmode="numeric" ...${field("port")} />`
      }
      <${Check} checked=${form.enabled} set=${set("enabled")}>Enabled: rounds collect it<//>
      <${Check} checked=${form.validate_certs} set=${set("validate_certs")}>Verify the certificate<//>
      ${isDirect ? "" : html`<${NewKubeconfig} text=${form.kubeconfig} set=${set("kubeconfig")} context=${field("context")} />`}
      <p class="wide">
        <button type="submit" disabled=${isSame || saving.loading}>
          ${saving.loading ? "Saving ..." : "Save"}
        </button>
        <span class="quiet">
          ${isSame ? " Nothing is changed." : " The connection is checked if a change concerns it; if that fails, nothing is stored."}
        </span>
      </p>
    <//>
    <div role="status">
      ${saving.error ? html`<${Problem} error=${saving.error} what="the change" />` : ""}
    </div>
  </section>`;
}

function NewKubeconfig({
  text,
  set,
  context,
}: {
  text: string;
  set: (text: string) => void;
  context: object;
}): Html {
  return html`<details class="wide">
    <summary>A new kubeconfig</summary>
    <label
      >Kubeconfig, in place of the stored credentials
      <textarea
        rows="4"
        autocomplete="off"
        spellcheck=${false}
        value=${text}
        onInput=${(event: Event) => set((event.target as HTMLTextAreaElement).value)}
      ></textarea>
    </label>
    <${Field} name="Context" hint="if it has several" ...${context} />
  </details>`;
}

function Delete({ id, path }: { id: string; path: string }): Html {
  const [typed, setTyped] = useState("");
  const deletion = useAction<boolean>();
  const remove = async (): Promise<void> => {
    const isDone = await deletion.run(async (signal) => {
      await act("DELETE", path, signal);
      return true;
    });
    if (isDone) location.hash = hrefOf([]);
  };
  return html`<section aria-labelledby="delete">
    <h2 id="delete">Delete</h2>
    <p>
      Ends its collection and removes its credentials and its progress. Stored samples remain, and carry the
      id: never use it again.
    </p>
    <${Form} send=${() => void (typed === id && remove())}>
      <${Field} name=${`Type ${id} to delete it`} value=${typed} set=${setTyped} />
      <p class="wide">
        <button type="submit" disabled=${typed !== id || deletion.loading}>Delete the cluster</button>
      </p>
    <//>
    <div role="status">
      ${deletion.error ? html`<${Problem} error=${deletion.error} what="the deletion" />` : ""}
    </div>
  </section>`;
}
