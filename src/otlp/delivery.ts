import type { BridgeError } from "#errors/error.ts";
import type { MemoryAccount } from "#lib/memory-budget.ts";
import type { Exporter, ExportOutcome } from "./exporter.ts";
import { sameOutcome, type PartOutcome } from "./delivery-outcome.ts";
import { createIsolationRound, type Probe } from "./isolation.ts";
import type { Batch } from "./writer.ts";

/** The batches of one cluster on their way to the Collector. */
export interface Delivery<Owner> {
  /** Sends the batch as soon as fewer than `inFlightMax` are on their way, or fails it unsent once `stopped`; never throws, never waits. */
  submit(batch: Batch<Owner>): void;
  /** Undefined while a batch that is submitted would leave at once, else a promise of it: reads wait for it before they begin. */
  room(): Promise<void> | undefined;
  /** Resolves when nothing is on its way. */
  drained(): Promise<void>;
  /** Why nothing more should be read or sent, once that is so. */
  stopped(): BridgeError | undefined;
}

export interface DeliveryDeps<Owner> {
  exporter: Exporter;
  probe: Probe;
  /** Called for each batch as it is settled. `bytes` is 0 for one that was not accepted. */
  onOutcome: (parts: PartOutcome<Owner>[], bytes: number) => void;
  /** A thrown signal reason or defect as the error that the points of the batch failed with. */
  toError: (error: unknown) => BridgeError;
  signal: AbortSignal;
  /** Counts what is submitted: its encoded form is at most as large. */
  memory?: Pick<MemoryAccount, "add">;
}

export function createDelivery<Owner>(
  deps: DeliveryDeps<Owner>,
  settings: { inFlightMax: number },
): Delivery<Owner> {
  const { memory } = deps;
  const { inFlightMax } = settings;
  const round = createIsolationRound((bytes) => memory?.add(bytes));
  const queue: Batch<Owner>[] = [];
  let inFlight = 0;
  let stop: BridgeError | undefined;
  let waiters: (() => void)[] = [];

  const wait = (): Promise<void> => new Promise((resolve) => waiters.push(resolve));

  const failed = (batch: Batch<Owner>, error: BridgeError): ExportOutcome<Owner> => ({
    parts: sameOutcome(batch.parts, { state: "failed", error }),
    bytes: 0,
    stop: error,
  });

  const send = async (batch: Batch<Owner>): Promise<ExportOutcome<Owner>> => {
    if (stop) {
      batch.release();
      return failed(batch, stop);
    }
    try {
      return await deps.exporter.send(batch, deps.probe, deps.signal, round);
    } catch (thrown) {
      return failed(batch, deps.toError(thrown));
    }
  };

  const run = async (batch: Batch<Owner>): Promise<void> => {
    const bytes = batch.body.length;
    try {
      const outcome = await send(batch);
      stop ??= outcome.stop;
      deps.onOutcome(outcome.parts, outcome.bytes);
    } catch (thrown) {
      // A failed report is not repeated: the windows stay open and are read again.
      stop ??= deps.toError(thrown);
    } finally {
      memory?.add(-bytes);
      inFlight--;
      sendNext();
      const woken = waiters;
      waiters = [];
      for (const wake of woken) wake();
    }
  };

  const sendNext = (): void => {
    while (inFlight < inFlightMax && queue.length > 0) {
      inFlight++;
      void run(queue.shift()!);
    }
  };

  const hasRoom = (): boolean => inFlight < inFlightMax;

  return {
    stopped: () => stop,
    submit: (batch) => {
      memory?.add(batch.body.length);
      queue.push(batch);
      sendNext();
    },
    room: () =>
      hasRoom()
        ? undefined
        : (async () => {
            while (!hasRoom()) await wait();
          })(),
    drained: async () => {
      while (inFlight > 0) await wait();
    },
  };
}
