/**
 * A sum with Neumaier's compensation, in Prometheus' order of operations (util/kahansum), so that both give the same last bits. The sum and
 * its compensation are kept apart until the end, as there.
 */
export class KahanSum {
  sum = 0;
  compensation = 0;

  reset(sum: number, compensation: number): void {
    this.sum = sum;
    this.compensation = compensation;
  }

  add(value: number): void {
    const sum = this.sum;
    const total = sum + value;
    if (total === Infinity || total === -Infinity) this.compensation = 0;
    else if (Math.abs(sum) >= Math.abs(value)) this.compensation += sum - total + value;
    else this.compensation += value - total + sum;
    this.sum = total;
  }
}
