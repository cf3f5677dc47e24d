import process from "node:process";

/**
 * Preloaded into the program (`node --import`): a worker that begins to collect a cluster whose name is a defect does what the name says.
 * In the main process it does nothing.
 */
const MIB = 2 ** 20;
const kept: unknown[] = [];

const DEFECTS: Record<string, () => void> = {
  loop: () => {
    for (;;);
  },
  buffers: () => {
    for (let i = 0; i < 32; i++) kept.push(Buffer.alloc(64 * MIB, 1));
  },
  heap: () => {
    for (let i = 0; i < 2048 * 16; i++) kept.push(Array.from({ length: 8192 }, () => i + 0.5));
  },
  crash: () => process.kill(process.pid, "SIGSEGV"),
};

if (process.argv[1]?.endsWith("worker.ts")) {
  process.on("message", (message: { type: string; cluster?: { name: string } }) => {
    if (message.type !== "call") return;
    const defect = DEFECTS[message.cluster?.name ?? ""];
    // The call itself begins first.
    if (defect) setImmediate(defect);
  });
}
