import { GenericContainer, Wait } from "testcontainers";

const DAPR_IMAGE = "daprio/daprd:1.16.0";
const REDIS_IMAGE = "redis:7.0.15";

/** A component file with one of its values replaced; throws when the file has another form. */
export function withValue(component: string, value: string, replacement: string): string {
  if (component.split(value).length !== 2) throw new Error(`${value} is not once in the component`);
  return component.replace(value, replacement);
}

/** A container of Dapr's sidecar with these component files, ready to be started; its HTTP API is on port 3500. */
export function daprContainer(
  components: Readonly<Record<string, string>>,
  flags: readonly string[],
): GenericContainer {
  return new GenericContainer(DAPR_IMAGE)
    .withCopyContentToContainer(
      Object.entries(components).map(([name, content]) => ({ content, target: `/components/${name}` })),
    )
    .withCommand([
      "/daprd",
      "--app-id",
      "budcluster",
      "--dapr-http-port",
      "3500",
      "--dapr-listen-addresses",
      "0.0.0.0",
      "--resources-path",
      "/components",
      ...flags,
    ])
    .withWaitStrategy(Wait.forLogMessage(/dapr initialized|application protocol: http. waiting on port/));
}

export function redisContainer(): GenericContainer {
  return new GenericContainer(REDIS_IMAGE).withExposedPorts(6379).withWaitStrategy(Wait.forListeningPorts());
}
