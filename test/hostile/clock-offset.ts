// Preloaded into the program (`node --import`): SIGUSR2 sets its clock back by a day, the next one sets it right again.

const DAY_MS = 86_400_000;
let offsetMs = 0;

const trueNow = Date.now.bind(Date);
const now = (): number => trueNow() + offsetMs;
const TrueDate = Date;

globalThis.Date = new Proxy(TrueDate, {
  construct: (target, args: unknown[], newTarget) =>
    Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget) as Date,
  apply: () => new TrueDate(now()).toString(),
  get: (target, name, receiver) => (name === "now" ? now : (Reflect.get(target, name, receiver) as unknown)),
});

process.on("SIGUSR2", () => {
  offsetMs = offsetMs === 0 ? -DAY_MS : 0;
});
