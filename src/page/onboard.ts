import { useState } from "preact/hooks";
import { useAction } from "./act.ts";
import { act } from "./api.ts";
import type { FoundService, FoundServices, Inspection } from "./change-types.ts";
import { Contexts } from "./contexts.ts";
import { useWalk, WalkState } from "./diagnose.ts";
import { Check, Field, Form, toLabels } from "./form.ts";
import { plural } from "./format.ts";
import { KubeconfigInput } from "./kubeconfig-input.ts";
import { Manifest } from "./manifest.ts";
import { hrefOf } from "./route.ts";
import { html, Problem, Table, type Html } from "./ui.ts";
import { Needs } from "./who.ts";

/** What is typed, besides the kubeconfig. Empty: the program's own default. */
const EMPTY = {
  namespace: "",
  service: "",
  port: "",
  podPort: "",
  scheme: "",
  pathPrefix: "",
  id: "",
  name: "",
  platform: "",
  labels: "",
};
type Typed = typeof EMPTY;

/** From a kubeconfig to a registered cluster. */
export function Onboard(): Html {
  const [namespace, setNamespace] = useState("");
  return html`<section aria-labelledby="title">
    <h1 id="title">Add a cluster</h1>
    <${Needs} scope="admin" what="Adding a cluster"><${Way} onNamespace=${setNamespace} /><//>
    <h2>Least rights</h2>
    <${Manifest} prometheusNamespace=${namespace} />
  </section>`;
}

/** The kubeconfig is in this component's memory only: it goes with the view, and when the cluster is registered. */
function Way({ onNamespace }: { onNamespace: (namespace: string) => void }): Html {
  const [given, setGiven] = useState<{ text: string; source: string } | null>(null);
  const [validate, setValidate] = useState(true);
  const [context, setContext] = useState<string | null>(null);
  const [typed, setTyped] = useState<Typed>(EMPTY);
  const [done, setDone] = useState<{ id: string; name: string } | null>(null);
  const inspection = useAction<Inspection>();

  const inspect = async (text: string, source: string, validateCerts: boolean): Promise<void> => {
    setGiven({ text, source });
    setValidate(validateCerts);
    setContext(null);
    setDone(null);
    const body = { kubeconfig: text, validate_certs: validateCerts };
    const found = await inspection.run((signal) => act("POST", "/onboard/inspect", signal, body));
    const accepted = found?.contexts.filter((each) => each.accepted) ?? [];
    const [only] = accepted;
    if (only && accepted.length === 1) choose(only.context);
  };
  const choose = (chosen: string): void => {
    setContext(chosen);
    setTyped((before) => ({ ...before, name: before.name === "" ? chosen.slice(0, 256) : before.name }));
  };
  const forget = (): void => {
    setGiven(null);
    setContext(null);
    setTyped(EMPTY);
    inspection.clear();
  };
  const set = (changes: Partial<Typed>): void => {
    setTyped((before) => ({ ...before, ...changes }));
    if (changes.namespace !== undefined) onNamespace(changes.namespace);
  };

  if (given === null) {
    return html`<div>
      ${done ? html`<${Done} id=${done.id} name=${done.name} />` : ""}
      <h2>1. Kubeconfig</h2>
      <p class="quiet">
        The program judges it before anything is sent to a cluster. The page keeps it in memory until the
        cluster is registered or this view is left.
      </p>
      <${KubeconfigInput} take=${(text: string, source: string) => void inspect(text, source, true)} />
    </div>`;
  }
  const several = (inspection.value?.contexts.length ?? 0) > 1;
  const credentials = {
    kubeconfig: given.text,
    validate_certs: validate,
    ...(several && context !== null ? { context } : {}),
  };
  return html`<div>
    <h2>1. Kubeconfig</h2>
    <p>
      From <bdi>${given.source}</bdi>. ${" "}<button type="button" onClick=${forget}>Use another one</button>
    </p>
    <${Check} checked=${validate} set=${(on: boolean) => void inspect(given.text, given.source, on)}
      >Verify the API server's certificate<//
    >
    ${inspection.loading ? html`<p role="status">Checking ...</p>` : ""}
    ${inspection.error ? html`<${Problem} error=${inspection.error} what="the kubeconfig" />` : ""}
    ${inspection.value ? html`<${Contexts} inspection=${inspection.value} chosen=${context} choose=${choose} />` : ""}
    ${
      context === null
        ? ""
        : html`<${Rest}
            key=${`${context} ${validate}`}
            credentials=${credentials}
            typed=${typed}
            set=${set}
            onRegistered=${(registered: { id: string; name: string }) => {
              forget();
              setDone(registered);
            }}
          />`
    }
  </div>`;
}

function Done({ id, name }: { id: string; name: string }): Html {
  return html`<p class="done" role="status">
    ✔ <a href=${hrefOf(["clusters", id])}>${name}</a> is registered. The next round collects it; ${" "}<a
      href=${hrefOf(["clusters", id, "settings"])}
      >collect now</a
    >.
  </p>`;
}

interface RestProps {
  credentials: Record<string, unknown>;
  typed: Typed;
  set: (changes: Partial<Typed>) => void;
  onRegistered: (cluster: { id: string; name: string }) => void;
}

function Rest({ credentials, typed, set, onRegistered }: RestProps): Html {
  const { walk, run } = useWalk("/onboard/diagnose");
  const registration = useAction<{ id: string; name: string }>();
  const body = toBody(credentials, typed);
  const isBusy = walk.isRunning || registration.loading;
  const register = async (): Promise<void> => {
    const cluster = await registration.run((signal) => act("POST", "/clusters", signal, body));
    if (cluster) onRegistered(cluster);
  };
  const field = (key: keyof Typed) => ({ value: typed[key], set: (value: string) => set({ [key]: value }) });
  return html`<div>
    <${Services} credentials=${credentials} typed=${typed} set=${set} />
    <h2>3. Cluster</h2>
    <${Form} send=${() => run(body)}>
      <${Field} name="Name" required ...${field("name")} />
      <${Field} name="Platform" required hint="eks, k3s, openshift" ...${field("platform")} />
      <${Field} name="Id" hint="made by the program" ...${field("id")} />
      <${Field} name="Labels" hint="team=edge, site=berlin" ...${field("labels")} />
      <p class="quiet wide">Every stored sample carries the id: never use one again.</p>
      <h2 class="wide">4. Diagnose and register</h2>
      <p class="wide">
        <button type="submit" disabled=${isBusy}>${walk.isRunning ? "Checking ..." : "Diagnose"}</button>
        ${" "}<button type="button" disabled=${isBusy} onClick=${() => void register()}>
          ${registration.loading ? "Registering ..." : "Register"}
        </button>
        <span class="quiet"> Both connect to the cluster; Register stores it if Prometheus answers.</span>
      </p>
    <//>
    <${WalkState} walk=${walk} />
    <div role="status">
      ${registration.error ? html`<${Problem} error=${registration.error} what="the registration" />` : ""}
    </div>
  </div>`;
}

function toBody(credentials: Record<string, unknown>, typed: Typed): Record<string, unknown> {
  const { id, name, platform, labels, namespace, service, port, podPort, scheme, pathPrefix } = typed;
  const given = (fields: Record<string, unknown>): Record<string, unknown> =>
    Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ""));
  const number = (text: string): number | string => (/^\d+$/.test(text) ? Number(text) : text);
  const prometheus = given({
    namespace,
    service,
    port: number(port),
    pod_port: number(podPort),
    scheme,
    path_prefix: pathPrefix,
  });
  return { ...credentials, ...given({ id }), name, platform, labels: toLabels(labels), prometheus };
}

function Services({ credentials, typed, set }: Omit<RestProps, "onRegistered">): Html {
  const search = useAction<FoundServices>();
  const { namespace } = typed;
  const find = (): void =>
    void search.run((signal) =>
      act("POST", "/onboard/services", signal, {
        ...credentials,
        ...(namespace === "" ? {} : { namespace }),
      }),
    );
  const choose = (found: FoundService): void =>
    set({
      namespace: found.namespace,
      service: found.service,
      port: String(found.port),
      podPort: found.pod_port === null ? "" : String(found.pod_port),
      scheme: found.scheme,
    });
  const field = (key: keyof Typed) => ({ value: typed[key], set: (value: string) => set({ [key]: value }) });
  return html`<div>
    <h2>2. Prometheus</h2>
    <p>
      <button type="button" onClick=${find} disabled=${search.loading}>
        ${search.loading ? "Searching ..." : "Find its Service"}
      </button>
      <span class="quiet">
        Lists Services as the kubeconfig's user. Or type it; empty: the program's default.</span
      >
    </p>
    <div role="status">
      ${search.error ? html`<${Problem} error=${search.error} what="finding Prometheus" />` : ""}
      ${search.value ? html`<${Found} found=${search.value} typed=${typed} choose=${choose} />` : ""}
    </div>
    <div class="form">
      <${Field} name="Namespace" ...${field("namespace")} />
      <${Field} name="Service" ...${field("service")} />
      <${Field} name="Port" inputmode="numeric" ...${field("port")} />
      <${Field} name="Port of the Pod" inputmode="numeric" hint="the Service's" ...${field("podPort")} />
      <${Field} name="Scheme" hint="http" ...${field("scheme")} />
      <${Field} name="Path in front of /api/v1" hint="/prometheus" ...${field("pathPrefix")} />
    </div>
  </div>`;
}

function Found({
  found,
  typed,
  choose,
}: {
  found: FoundServices;
  typed: Typed;
  choose: (service: FoundService) => void;
}): Html {
  const { services, note, complete, services_read: read } = found;
  const isChosen = (each: FoundService): boolean =>
    each.namespace === typed.namespace && each.service === typed.service && String(each.port) === typed.port;
  return html`<div>
    <p>
      <strong
        >${services.length === 0 ? "Nothing looks like a Prometheus." : `${plural(services.length, "Service")} may be a Prometheus.`}</strong
      >
      ${` ${plural(read, "Service")} looked at${complete ? "" : "; there are more"}.`}${note === null ? "" : ` Note: ${note}.`}
    </p>
    ${
      services.length === 0
        ? ""
        : html`<${Table}
            caption="Services that may be a Prometheus, the likeliest first"
            rows=${services}
            keyOf=${(each: FoundService) => `${each.namespace}/${each.service}`}
            columns=${[
              {
                head: "Service",
                cell: (each: FoundService) =>
                  html`<label class="check"
                    ><input
                      type="radio"
                      name="service"
                      checked=${isChosen(each)}
                      onChange=${() => choose(each)}
                    />
                    <bdi>${each.namespace}/${each.service}</bdi></label
                  >`,
              },
              { head: "Port", numeric: true, cell: ({ port }: FoundService) => port },
              { head: "Why", cell: ({ reasons }: FoundService) => reasons.join(", ") },
            ]}
          />`
    }
  </div>`;
}
