import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** An exporter that containers can scrape. */
export interface Exporter {
  port: number;
  /** What it exports now, in Prometheus' text format; undefined: it is dead, and its connections are cut. */
  text: (() => string) | undefined;
  stop(): Promise<void>;
}

export async function startExporter(text: () => string): Promise<Exporter> {
  const server = createServer((_request, response) => {
    if (exporter.text === undefined) response.destroy();
    else {
      response.setHeader("content-type", "text/plain; version=0.0.4");
      response.end(exporter.text());
    }
  });
  // A container reaches this machine by an address of its network.
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const exporter: Exporter = {
    port: (server.address() as AddressInfo).port,
    text,
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return exporter;
}
