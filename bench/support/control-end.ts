/** One end of one path of `control-stream.ts`, as a process: says where it is, or that it is ready; an asking end then says the rate of each round it is told to do. */
import { CONTROL_PATHS, type Given, type PathName, type Where } from './control-paths.ts'
import { rate } from './mesh-pair.ts'

export interface EndOrder {
  readonly path: PathName
  readonly given: Given
  /** Of the asking end */
  readonly where?: Where
}

export interface Round {
  readonly calls: number
  readonly inFlight: number
}

const tell = (doing: Promise<unknown>): void => {
  doing.then(
    (value) => process.send?.(value),
    (error: unknown) => {
      console.error(error)
      process.exit(1)
    },
  )
}

async function ready(call: () => Promise<unknown>): Promise<'ready'> {
  process.on('message', ({ calls, inFlight }: Round) => tell(rate(calls, inFlight, call)))
  return 'ready'
}

process.on('disconnect', () => process.exit())
process.once('message', ({ path, given, where }: EndOrder) => {
  const { answer, ask } = CONTROL_PATHS[path]
  tell(where === undefined ? answer(given) : ask(where, given).then(ready))
})
