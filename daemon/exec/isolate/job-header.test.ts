import { expect, it } from 'vitest'
import type { JobSpec } from '../executor.ts'
import { decodeJob, encodeJob } from './job-header.ts'

it('a job comes out as it went in, sources and input byte for byte', () => {
  const spec: JobSpec = {
    program: {
      main: 'ä.js',
      modules: [
        { name: 'ä.js', type: 'js', source: 'export default "€😀"' },
        { name: 'empty.txt', type: 'text', source: '' },
        { name: 'd.json', type: 'json', source: '{"a":"ü"}' },
      ],
    },
    limits: { wallMs: 1, cpuMs: 2, memoryBytes: 3, outputBytes: 4, logBytes: 5, hostCalls: 6, hostCallBytes: 7 },
    domain: 'not for the host',
    hostFunctions: ['f', 'g'],
  }
  const decoded = decodeJob(encodeJob(spec, '["€"]'))
  const { wallMs: _, cpuMs: __, ...limits } = spec.limits
  expect(decoded).toEqual({ ...limits, program: spec.program, hostFunctions: ['f', 'g'], input: '["€"]' })
  expect(decodeJob(encodeJob({ ...spec, program: { main: 'x', modules: [] } }, '')).input).toBe('')
})
