import { getContainerRuntimeClient } from "testcontainers";
import type { Action } from "./plan.ts";
import type { Address } from "./wire.ts";

/** A running container of Docker that faults are done to. */
export interface Container {
  /** Returns what heals it. */
  strike(action: Action): Promise<() => Promise<void>>;
  /** Where the container's port is published now that is published as `hostPort` when this is called: Docker may choose another one at each start. */
  published(hostPort: number): () => Promise<Address>;
}

/** `name`: of the container, or its id. Throws when there is no such running container. */
export async function openContainer(name: string): Promise<Container> {
  const { dockerode } = (await getContainerRuntimeClient()).container;
  const handle = dockerode.getContainer(name);
  const first = await handle.inspect();
  if (!first.State.Running || first.State.Paused) throw new Error(`container ${name} does not run`);

  /** A container keeps its address as long as the others of its network keep theirs: Docker gives the lowest free one. */
  const checkAddresses = async (): Promise<void> => {
    const now = (await handle.inspect()).NetworkSettings.Networks;
    for (const [network, { IPAddress }] of Object.entries(first.NetworkSettings.Networks)) {
      const address = now[network]?.IPAddress;
      if (address !== IPAddress)
        throw new Error(`container ${name} had the address ${IPAddress} and has ${address} after a fault`);
    }
  };
  const cut = async (): Promise<() => Promise<void>> => {
    const networks = Object.entries(first.NetworkSettings.Networks);
    for (const [network] of networks)
      await dockerode.getNetwork(network).disconnect({ Container: name, Force: true });
    return async () => {
      for (const [network, { Aliases }] of networks)
        await dockerode.getNetwork(network).connect({ Container: name, EndpointConfig: { Aliases } });
      await checkAddresses();
    };
  };

  return {
    strike: async (action) => {
      if (action === "cut") return await cut();
      if (action === "pause") {
        await handle.pause();
        return async () => void (await handle.unpause());
      }
      await handle.kill({ signal: "SIGKILL" });
      return async () => {
        await handle.start();
        await checkAddresses();
      };
    },
    published: (hostPort) => {
      const port = Object.entries(first.NetworkSettings.Ports).find(([, bindings]) =>
        bindings?.some(({ HostPort }) => HostPort === String(hostPort)),
      )?.[0];
      if (port === undefined)
        throw new Error(
          `container ${name} does not publish the port ${hostPort} (any more: it may have been restarted)`,
        );
      return async () => {
        const binding = (await handle.inspect()).NetworkSettings.Ports[port]?.[0];
        if (!binding) throw new Error(`container ${name} does not publish ${port} now`);
        return { host: "127.0.0.1", port: Number(binding.HostPort) };
      };
    },
  };
}
