import { BridgeError } from "#errors/error.ts";
import type { Envelope } from "#clusters/envelope.ts";
import type { ReadProgress } from "#collect/collection-progress.ts";
import type { StateRecord } from "#state/store.ts";
import {
  fromWireError,
  toWireError,
  unpack,
  unpackCluster,
  type FromWorker,
  type ToWorker,
} from "./messages.ts";
import type { ClusterWork, WorkerMetrics, WorkPorts } from "./ports.ts";

/** The worker's end of the connection to the main process. */
export interface MainProcess {
  send(message: FromWorker): void;
  onMessage(receive: (message: ToWorker) => void): void;
}

/** Controls of one call under way. */
interface Call {
  abort: AbortController;
  endReading: AbortController;
  isStopping: boolean;
  readProgress?: ReadProgress;
  tell(value: unknown): void;
}

/** Serves the calls of the main process, with the work that `createWork` makes of the settings and the ports. */
export function serve(
  main: MainProcess,
  createWork: (settings: unknown, ports: WorkPorts) => ClusterWork | Promise<ClusterWork>,
): void {
  const calls = new Map<number, Call>();
  const { ports, answered } = createPorts(main);
  let work: ClusterWork | undefined;

  const perform = async (message: Extract<ToWorker, { type: "call" }>): Promise<void> => {
    const { id } = message;
    const call: Call = {
      abort: new AbortController(),
      endReading: new AbortController(),
      isStopping: false,
      tell: (value) => main.send({ type: "told", id, value }),
    };
    calls.set(id, call);
    try {
      if (!work) throw new BridgeError("internal", "a call came before the settings");
      const value = await run(work, message, call);
      main.send({ type: "done", id, value });
    } catch (thrown) {
      main.send({ type: "done", id, error: toWireError(thrown) });
    } finally {
      calls.delete(id);
    }
  };

  main.onMessage((message) => {
    switch (message.type) {
      case "start":
        void Promise.resolve(createWork(unpack(message.settings), ports)).then((created) => {
          work = created;
          main.send({ type: "ready" });
        });
        break;
      case "call":
        void perform(message);
        break;
      case "signal":
        signalCall(calls.get(message.id), message);
        break;
      case "ask_progress": {
        const call = calls.get(message.id);
        call?.tell(call.readProgress?.() ?? null);
        break;
      }
      case "answer":
        answered(message);
        break;
    }
  });
}

async function run(
  work: ClusterWork,
  { operation, cluster: packed, epoch }: Extract<ToWorker, { type: "call" }>,
  call: Call,
): Promise<unknown> {
  const cluster = unpackCluster(packed);
  const { signal } = call.abort;
  if (operation === "diagnose") return await work.diagnose(cluster, signal, (event) => call.tell(event));
  if (operation === "find_services") return await work.findServices(cluster, signal);
  if (operation === "check") {
    await work.check(cluster, signal);
    return null;
  }
  return await work.collect(cluster, {
    epoch,
    signal,
    readSignal: call.endReading.signal,
    isStopping: () => call.isStopping,
    offerProgress: (read) => {
      call.readProgress = read;
    },
  });
}

function signalCall(call: Call | undefined, message: Extract<ToWorker, { type: "signal" }>): void {
  if (!call) return;
  const reason = fromWireError(message.reason);
  if (message.name === "stop_soon") call.isStopping = true;
  else if (message.name === "end_reading") call.endReading.abort(reason);
  else {
    call.endReading.abort(reason);
    call.abort.abort(reason);
  }
}

/** The main process's store, keys and metrics, as messages. */
function createPorts(main: MainProcess): {
  ports: WorkPorts;
  answered: (message: Extract<ToWorker, { type: "answer" }>) => void;
} {
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  const ask = async (
    name: Extract<FromWorker, { type: "request" }>["name"],
    ...args: unknown[]
  ): Promise<unknown> => {
    const id = ++lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    waiting.set(id, { resolve, reject });
    main.send({ type: "request", id, name, args });
    return await promise;
  };
  const record =
    (name: keyof WorkerMetrics) =>
    (...args: unknown[]): void =>
      main.send({ type: "metric", name, args });
  return {
    ports: {
      store: {
        get: async <T>(key: string) => (await ask("get", key)) as StateRecord<T> | undefined,
        put: async (key, value, etag) => (await ask("put", key, value, etag)) as string,
        delete: async (key) => void (await ask("delete", key)),
      },
      keyring: {
        open: async (clusterId, jwe) => unpack(await ask("open_credentials", clusterId, jwe)) as Envelope,
      },
      metrics: {
        batchStarted: record("batchStarted"),
        batchFinished: record("batchFinished"),
        errorOccurred: record("errorOccurred"),
        timeLost: record("timeLost"),
        samplesRead: record("samplesRead"),
        exportFinished: record("exportFinished"),
        tunnelOpened: record("tunnelOpened"),
        tunnelClosed: record("tunnelClosed"),
        tunnelFailed: record("tunnelFailed"),
      },
    },
    answered: ({ id, value, error }) => {
      const waiter = waiting.get(id);
      waiting.delete(id);
      if (error) waiter?.reject(fromWireError(error));
      else waiter?.resolve(value);
    },
  };
}
