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

process.on('disconnect', () => process.exit())
process.once('message', async ({ path, given, where }: EndOrder) => {
  const { answer, ask } = CONTROL_PATHS[path]
  if (where === undefined) return process.send?.(await answer(given))
  const call = await ask(where, given)
  process.on('message', async ({ calls, inFlight }: Round) => {
    process.send?.(await rate(calls, inFlight, call))
  })
  return process.send?.('ready')
})
