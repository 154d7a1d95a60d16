import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { EgressKit } from '../../test/support/egress-kit.ts'
import { createIsolateExecutor, type IsolateExecutor } from '../exec/isolate/isolate-executor.ts'
import { HandlerPrograms } from './handler-programs.ts'
import { IsolateFetch } from './isolate-fetch.ts'

const kit = new EgressKit()
const folder = join(kit.folder, 'handlers')
let executor: IsolateExecutor
let fetches: IsolateFetch

beforeAll(async () => {
  executor = await createIsolateExecutor()
  const handlers = new HandlerPrograms({ folder, executor })
  mkdirSync(folder)
  await kit.start({ handlers })
})
beforeEach(async () => {
  await kit.reset()
  fetches = new IsolateFetch(kit.egress)
})
afterEach(() => fetches.close())
afterAll(async () => {
  await kit.close()
  await executor.close()
})

async function post(url: string, body: string): Promise<{ status: number; text: string }> {
  const asked = [{ url, method: 'POST', headers: [], body: Buffer.from(body).toString('base64'), redirect: 'follow' }]
  const answer: unknown = JSON.parse(
    await fetches.fetch({ agent: 'ci' }, JSON.stringify(asked), AbortSignal.timeout(30_000)),
  )
  const { status, body: bytes = '' } = answer as { status: number; body?: string }
  return { status, text: Buffer.from(bytes, 'base64').toString() }
}

test('a program of the operator answers in place of the host, with the network closed to it', async () => {
  writeFileSync(
    join(folder, 'echo.ts'),
    `export default async ({ method, url, text, subject }: { method: string; url: string; text: string; subject: { agent: string } }) => {
       const reached = await fetch('http://never.test/').then(() => 'open', () => 'closed')
       return { status: 201, headers: { 'x-by': 'echo' }, text: [method, url, text, subject.agent, reached].join(' ') }
     }`,
  )
  await kit.allow({ host: 'never.test', handler: 'echo' })
  expect(await post('http://never.test/a', 'hello')).toEqual({
    status: 201,
    text: 'POST http://never.test:80/a hello ci closed',
  })
  expect(kit.entries).toContainEqual(expect.objectContaining({ decision: 'allow', reason: 'handler', path: '/a' }))
})

test('one that is not there, throws, or returns something else is a failure of the door', async () => {
  writeFileSync(join(folder, 'throws.js'), `export default () => { throw new Error('inner detail') }`)
  writeFileSync(join(folder, 'wrong.js'), `export default () => 'text'`)
  for (const handler of ['missing', 'throws', 'wrong']) {
    const { id } = await kit.allow({ host: 'never.test', handler })
    const failure = await post('http://never.test/', '').catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'E_UNREACHABLE' })
    expect(String(failure)).not.toContain('inner detail')
    await kit.egress.policy.remove(id)
  }
})

test('a rule says which secrets and which program it names are not here', async () => {
  writeFileSync(join(folder, 'there.js'), `export default () => ({ status: 200 })`)
  await kit.egress.secrets.set('kept', 'value')
  const inject = [
    { header: 'x-a', secret: 'kept' },
    { header: 'x-b', secret: 'gone' },
  ]
  const rule = await kit.allow({ host: 'one.test', inject, replace: [{ secret: 'gone', headers: ['x-c'] }] })
  expect(await kit.egress.missing(rule)).toEqual([{ kind: 'secret', name: 'gone' }])
  expect(await kit.egress.missing(await kit.allow({ host: 'two.test', handler: 'there' }))).toEqual([])
  const lost = await kit.allow({ host: 'three.test', handler: 'lost' })
  expect(await kit.egress.missing(lost)).toEqual([{ kind: 'handler', name: 'lost' }])
  await kit.egress.secrets.remove('kept')
})
