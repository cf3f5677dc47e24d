import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { WebSocket } from "ws";
import type { SimulatedCluster } from "#simulator/simulator.ts";

export interface KubeAnswer {
  status: number;
  body: Record<string, unknown>;
}

export interface KubeCall {
  method?: string;
  token?: string | null;
  body?: unknown;
  /** Trust this CA instead of the cluster's own. */
  ca?: string;
}

/** One call of a simulated API server. Rejects with the connection's error. */
export async function callKube(
  cluster: SimulatedCluster,
  path: string,
  call: KubeCall = {},
): Promise<KubeAnswer> {
  const token = call.token === undefined ? cluster.token : call.token;
  const sent = request(new URL(path, cluster.apiServerUrl), {
    method: call.method ?? "GET",
    ca: call.ca ?? cluster.ca,
    agent: false,
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
  });
  sent.end(call.body === undefined ? undefined : JSON.stringify(call.body));
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  let text = "";
  for await (const part of response as AsyncIterable<Buffer>) text += part.toString("utf8");
  return { status: response.statusCode ?? 0, body: JSON.parse(text) as Record<string, unknown> };
}

/** Data received over a port-forward until it ended. */
export interface Forward {
  /** Binary frames. */
  frames: Buffer[];
  texts: string[];
  /** Data of channel 0 without the port, as text. */
  data(): string;
  /** Text of channel 1 without the port. */
  error(): string;
  /** Sends bytes into the Pod. */
  send(text: string): void;
  /** Resolves with the close code, 1006 when there was no close frame. */
  closed: Promise<number>;
  /** Resolves when `test` holds after a frame. */
  until(test: () => boolean): Promise<void>;
  close(): void;
}

export const POD = "prometheus-bud-metrics-kube-prometheu-prometheus-0";

/** Opens a port-forward. Rejects with an Error whose message holds status and body when the upgrade is refused. */
export async function openForward(
  cluster: SimulatedCluster,
  { pod = POD, port = 9090, token = cluster.token }: { pod?: string; port?: number; token?: string } = {},
): Promise<Forward> {
  const url = new URL(
    `/api/v1/namespaces/bud-system/pods/${pod}/portforward?ports=${port}`,
    cluster.apiServerUrl,
  );
  url.protocol = "wss:";
  const socket = new WebSocket(url, ["v4.channel.k8s.io"], {
    ca: cluster.ca,
    perMessageDeflate: false,
    headers: { authorization: `Bearer ${token}` },
  });
  const frames: Buffer[] = [];
  const texts: string[] = [];
  const waiting = new Set<() => void>();
  socket.on("message", (data: Buffer, isBinary) => {
    if (isBinary) frames.push(data);
    else texts.push(data.toString("utf8"));
    for (const check of waiting) check();
  });
  const closed = new Promise<number>((resolve) => socket.on("close", resolve));
  await new Promise<void>((resolve, reject) => {
    socket.on("open", resolve);
    socket.on("error", reject);
    socket.on("unexpected-response", (_request, response) => {
      let body = "";
      response.on("data", (part: Buffer) => (body += part.toString("utf8")));
      response.on("end", () => reject(new Error(`${response.statusCode} ${body}`)));
    });
  });
  const channel = (wanted: number): Buffer =>
    Buffer.concat(frames.filter((frame) => frame[0] === wanted).map((frame) => frame.subarray(1))).subarray(
      2,
    );
  return {
    frames,
    texts,
    closed,
    data: () => channel(0).toString("latin1"),
    error: () => channel(1).toString("utf8"),
    send: (text) => socket.send(Buffer.concat([Buffer.from([0]), Buffer.from(text)])),
    until: async (test) =>
      new Promise<void>((resolve) => {
        const check = (): void => {
          if (!test()) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      }),
    close: () => socket.close(1000),
  };
}

/** An HTTP request for a Prometheus, as bytes. */
export function httpGet(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: prometheus\r\n\r\n`;
}
