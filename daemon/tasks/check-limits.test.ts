import { expect, test } from 'vitest'
import { LIMIT_FLOORS, type Limits } from '../../protocol/job.ts'
import { checkLimits } from './check-limits.ts'
import { specOf } from './submission.ts'

const ceilings: Limits = {
  wallMs: 1_000,
  cpuMs: 1_000,
  memoryBytes: 64 << 20,
  outputBytes: 1_000,
  logBytes: 1_000,
  hostCalls: 10,
  hostCallBytes: 1_000,
}
const refusal = (limits: Partial<Limits>): unknown => {
  try {
    checkLimits({ ...ceilings, ...limits }, ceilings, 'Cannot take the task')
    return undefined
  } catch (error) {
    return error
  }
}

test('limits at the floor and at the ceiling are taken', () => {
  expect(refusal({})).toBeUndefined()
  expect(refusal(LIMIT_FLOORS)).toBeUndefined()
})

test.each(Object.keys(ceilings) as (keyof Limits)[])('%s beyond its bounds is refused, with the bound', (name) => {
  for (const [value, bound] of [
    [LIMIT_FLOORS[name] - 1, `at least ${LIMIT_FLOORS[name]} is needed`],
    [Number.NaN, 'at least'],
    [ceilings[name] + 1, `at most ${ceilings[name]} is allowed here`],
  ] as const) {
    const error = refusal({ [name]: value })
    expect(error).toMatchObject({ code: 'E_BAD_REQUEST' })
    expect(String(error)).toContain(`limit ${name} is ${value}, ${bound}`)
  }
})

test('a task with less memory than an isolate needs is refused before it is placed', () => {
  const program = { source: 'export default () => 1' }
  expect(() =>
    specOf({ program, limits: { memoryBytes: 1 << 20 } }, ['1'], [], { defaults: ceilings, ceilings }),
  ).toThrow('limit memoryBytes is 1048576, at least 8388608 is needed')
})
