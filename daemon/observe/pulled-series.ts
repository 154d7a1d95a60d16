/** Series whose values are asked of their owners when somebody scrapes, so that nothing can drift. */
import { Counter, Gauge, type Registry } from 'prom-client'

type Labels = Readonly<Record<string, string>>
/** Says every value there is now. */
type Collect = (set: (labels: Labels, value: number) => void) => void

export class PulledSeries {
  readonly #registry: Registry

  constructor(registry: Registry) {
    this.#registry = registry
  }

  /** What is so now. */
  gauge(name: string, help: string, labelNames: readonly string[], collect: Collect): void {
    const series: Gauge = new Gauge({
      ...this.#base(name, help, labelNames),
      collect: () => {
        series.reset()
        collect((labels, value) => series.set(labels, value))
      },
    })
  }

  /** What has happened since the start; its owner counts. */
  counter(name: string, help: string, labelNames: readonly string[], collect: Collect): void {
    const series: Counter = new Counter({
      ...this.#base(name, help, labelNames),
      collect: () => {
        series.reset()
        collect((labels, value) => series.inc(labels, value))
      },
    })
  }

  #base(name: string, help: string, labelNames: readonly string[]) {
    return { name: `manyhands_${name}`, help, labelNames: [...labelNames], registers: [this.#registry] }
  }
}
