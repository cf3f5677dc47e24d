import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface Address {
  host: string;
  port: number;
}

/** A port of this machine that leads to another address, until it is cut. */
export interface Wire {
  port: number;
  /** Resets its connections and each new one, until what this returns is called. */
  cut(): () => void;
  close(): Promise<void>;
}

/** `resolve` is asked for each connection: a container's published port may change with its start. */
export async function startWire(resolve: () => Promise<Address>): Promise<Wire> {
  const sockets = new Set<Socket>();
  let cuts = 0;
  const resetAll = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.on("error", () => {}).once("close", () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    keep(near);
    if (cuts > 0) {
      near.resetAndDestroy();
      return;
    }
    void resolve().then(
      ({ host, port }) => {
        if (near.destroyed) return;
        const far = keep(connect(port, host));
        near.once("close", () => far.destroy());
        far.once("close", (hadError) => (hadError ? near.resetAndDestroy() : near.end()));
        near.pipe(far).pipe(near);
      },
      () => near.resetAndDestroy(),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      cuts++;
      resetAll();
      return () => void cuts--;
    },
    close: async () => {
      const closed = once(server, "close");
      server.close();
      resetAll();
      await closed;
    },
  };
}
